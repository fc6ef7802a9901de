"""Gates from data: how far to trust what each group of a chain adds, by what it does on other samples."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.nn.relaxed.chain import ChainGates


@torch.no_grad()
def bootstrap_gates(
    net: nn.Module,
    fit: Callable[[nn.Module, Tensor], object],
    num_samples: int,
    *,
    num_runs: int = 20,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Gates of every ``ChainGates`` layer of a trained net: q_j the square of what gate j lets through, v_j its noise,

        gate_j * max(0, q_j - v_j) / q_j

    the rule of shrinkage along a chain, with the noise estimated by the bootstrap: copies of the net are fitted to samples drawn
    with replacement, and v_j is the variance of the increment over the copies, summed over its entries. Nothing needs to be known
    of the truth, as ``gnet.theory.optimal_shrinkage`` does. An increment that all copies agree on keeps its gate, one that is
    nothing but noise loses it.

    Train the net with gates 1 (``gates=[1.0, ...]``), ask, and set what comes: ``layer.set_gates(gates)``. Every copy starts from
    the net as it is, so that hidden channels keep their places, and ``fit`` should train it until it has left that start behind;
    a copy that hardly moves says that there is no noise. Samples drawn with replacement overstate the noise where they are not
    many times as many as the weights of a layer. Costs ``num_runs`` fits.

    Args:
        net: trained; a layer, or a module that has some.
        fit: trains a copy of the net, in place, on the samples of these numbers, (n,) int64, which may repeat.
        num_samples: n.
        num_runs: copies.
        generator: of the draws.

    Shapes:
        returns: by name of the layer in ``net.named_modules()``, (J,) in [0, 1]

    Raises:
        ConfigError: a net without such layers, gates for each node, fewer than two runs or samples.

    References:
        Efron (1979), doi:10.1214/aos/1176344552; ``gnet.theory.ShrunkEquivariantRegression``, the same of least squares.

    Example:
        >>> layer = gnet.nn.relaxed.ChainGates(SymmetricGroup(3), 1, 1, gates=[1.0])
        >>> bootstrap_gates(layer, lambda copied, rows: None, 50)  # copies that agree on everything
        {'': tensor([1.])}
    """
    layers = {name: each for name, each in net.named_modules() if isinstance(each, ChainGates)}
    if not layers:
        raise ConfigError(f"expected a net with ChainGates layers (layer='chain'), got {type(net).__name__} without any")
    if any(layer.node_wise for layer in layers.values()):
        raise ConfigError("expected one gate for each increment, got node_wise=True; estimate with node_wise=False")
    if num_runs < 2 or num_samples < 2:
        raise ConfigError(f"expected num_runs >= 2 and num_samples >= 2, got {num_runs} and {num_samples}")
    runs: list[dict[str, list[Tensor]]] = []
    for _ in range(num_runs):
        twin, rows = copy.deepcopy(net), torch.randint(num_samples, (num_samples,), generator=generator)
        with torch.enable_grad():
            fit(twin, rows)
        runs.append({name: _let_through(twin.get_submodule(name)) for name in layers})
    found = {}
    for name, layer in layers.items():
        squares = _squares(layer, _let_through(layer))
        means = [torch.stack(parts).mean(0) for parts in zip(*(run[name] for run in runs), strict=True)]
        spreads = [_squares(layer, [part - mean for part, mean in zip(run[name], means, strict=True)]) for run in runs]
        noise = torch.stack(spreads).sum(0) / (num_runs - 1)
        # Where nothing but rounding is let through there is no increment, whatever the copies agree on.
        rounding = (100 * torch.finfo(squares.dtype).eps) ** 2 * layer.square()
        factors = torch.where(squares > rounding, (squares - noise).clamp(min=0) / squares, 0.0)
        found[name] = layer.gates() * factors
    return found


def _let_through(layer: nn.Module) -> list[Tensor]:
    """Each increment times its gate: of the weights, then of the biases, where these are by orbit."""
    if not isinstance(layer, ChainGates):
        raise ConfigError(f"expected fit to train the copy in place, but it has put a {type(layer).__name__} there")
    parts = [layer.increments()[:-1], layer.bias_increments()[:-1]]
    return [gate * part for increments in parts for gate, part in zip(layer.gates(), increments, strict=False)]


def _squares(layer: ChainGates, parts: list[Tensor]) -> Tensor:
    """Squared norms of the increments, weights and biases together, (J,)."""
    count = len(layer.levels) - 1
    squares = layer.pairs.squares(parts[:count])
    return squares + layer.nodes.squares(parts[count:]) if len(parts) > count else squares
