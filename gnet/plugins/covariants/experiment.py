"""The matrix of inertia learned from an invariant of bodies and a covector, beside the model of scalars."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.plugins.covariants.differentiation import EquivariantFromInvariant
from gnet.plugins.scalars import PairMatrix, perceptron
from gnet.plugins.scalars.experiment import Training, fit
from gnet.plugins.tensors.experiment import SyntheticRegressions
from gnet.plugins.tensors.tasks import task
from gnet.study.simulate import Measured

MODELS = ("covariants", "scalars")
SHARE = 0.2
"""Of the error by scalars: as much may that of a differentiated invariant differ from it."""


class PairEnergy(nn.Module):
    """sum_i a(m_i, r_i . r_i, r_i^T L r_i, tr L) + sum_(i != j) b(..., r_i . r_j, r_i^T L r_j, tr L): invariant on V x W*.

    Differentiated in L at zero it is sum_i a' r_i r_i^T + sum_(i != j) b' r_i r_j^T + c I, the form of ``PairMatrix``.

    Args:
        width, layers: of both networks; smooth, since they are differentiated.

    Shapes:
        x: (B, 4 n), n masses and n positions    covector: (B, 3, 3)    returns: (B, 1)

    Example:
        >>> PairEnergy(8, 1)(torch.ones(2, 20), torch.zeros(2, 3, 3)).shape
        torch.Size([2, 1])
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        hidden = [width] * layers
        self.same, self.other = perceptron([4, *hidden, 1]), perceptron([7, *hidden, 1])

    def forward(self, x: Tensor, covector: Tensor) -> Tensor:
        """Apply the function."""
        n = x.shape[1] // 4
        masses, places = x[:, :n, None], x[:, n:].unflatten(1, (n, 3))
        gram, paired = places @ places.mT, places @ covector @ places.mT
        trace = torch.einsum("bii->b", covector)[:, None, None]
        squares = torch.diagonal(gram, dim1=1, dim2=2)[..., None]
        own = torch.cat([masses, squares], -1)
        i, j = (~torch.eye(n, dtype=torch.bool)).nonzero(as_tuple=True)
        same = torch.cat([own, torch.diagonal(paired, dim1=1, dim2=2)[..., None], trace.expand(-1, n, 1)], -1)
        both = [own[:, i], own[:, j], gram[:, i, j, None], paired[:, i, j, None], trace.expand(-1, len(i), 1)]
        return self.same(same).sum(1) + self.other(torch.cat(both, -1)).sum(1)


class _Matrix(nn.Module):
    """Flat inputs and outputs around ``PairMatrix``."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        hidden = [width] * layers
        self.pairs = PairMatrix(perceptron([2, *hidden, 2]), perceptron([5, *hidden, 2]))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network."""
        n = x.shape[1] // 4
        return self.pairs(x[:, n:].unflatten(1, (n, 3)), x[:, :n, None]).flatten(1)


class CovariantInertia(SyntheticRegressions):
    """Test error on the matrix of inertia: a network differentiated in a covector, beside coefficients that are networks.

    Both are sums over pairs of bodies with shared networks of the same width, smooth, and trained in the same way; the first has
    one output, the second one for each term. Their errors should be near each other.

    Args:
        models: "covariants", "scalars".
        sizes, seeds, num_val, num_test: as in ``SyntheticRegressions``.
        width, layers: of the networks.
        lr, epochs, draws, batch: of Adam, whose step is halved at 1/4, 1/2, 3/4 and 7/8 of the epochs.

    Raises:
        ConfigError: a model that does not exist, or no sizes.

    References:
        Blum-Smith and Villar (2023), arXiv:2209.14991; the regression is that of Finzi, Welling and Wilson (2021).
    """

    models_known = MODELS

    def __init__(
        self,
        models: list[str] | None = None,
        sizes: list[int] | None = None,
        seeds: int = 3,
        width: int = 64,
        layers: int = 2,
        lr: float = 5e-3,
        epochs: int = 400,
        draws: int = 2048,
        batch: int = 512,
        num_val: int = 1000,
        num_test: int = 5000,
    ) -> None:
        if min(width, layers, epochs, draws, batch) < 1:
            raise ConfigError("expected width, layers, epochs, draws and batch >= 1")
        super().__init__(["inertia"], models or list(MODELS), sizes or [300, 1000], seeds, num_val=num_val, num_test=num_test)
        milestones = tuple(max(1, int(share * epochs)) for share in (0.25, 0.5, 0.75, 0.875))
        self.training = Training(width, layers, lr, 0.5, milestones, epochs, draws, batch)

    def published(self, name: str, model: str) -> Sequence[float]:
        """None: the demonstration has no published number."""
        return [float("nan")] * 7

    def pass_rules(self, lines: Sequence[Measured]) -> list[tuple[str, bool]]:
        """At every size with both models: their errors differ by at most a fifth of that by scalars."""
        found = {(line.settings["model"], int(line.settings["n"])): line.measured for line in lines}
        return [
            (f"inertia, {n} samples: covariants within 20 % of scalars", abs(found["covariants", n] - each) <= SHARE * each)
            for (model, n), each in found.items()
            if model == "scalars" and ("covariants", n) in found
        ]

    def error(self, name: str, model: str, n: int, seed: int) -> float:
        """The test error of one run."""
        data, _, generator = self.samples(task(name), n, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            net = self.model(model)
        fit(net, data[0], data[1], self.training, generator)
        with torch.no_grad():
            return float((net(data[2][0]) - data[2][1]).square().mean())

    def model(self, name: str) -> nn.Module:
        """The network, flat inputs to flat matrices."""
        width, layers = self.training.width, self.training.layers
        if name == "scalars":
            return _Matrix(width, layers)
        return nn.Sequential(EquivariantFromInvariant(PairEnergy(width, layers), (3, 3)), nn.Flatten())
