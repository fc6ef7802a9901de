"""Relaxed weight mixing: a few maps of the group, mixed by weights of each node."""

from typing import Literal

import torch
from torch import Tensor, nn

from gnet.counts import check_count
from gnet.groups.base import NodeGroup
from gnet.nn.base import Bias
from gnet.nn.checks import check_choice
from gnet.nn.linear import EquivariantLinear, Parametrization
from gnet.nn.relaxed.base import ApproximateLinear, check_at_least
from gnet.nn.relaxed.refinement import representatives
from gnet.nn.weights import Init, Start

Spread = Literal["absolute", "squared", "orbit_mean"]


class RelaxedMixing(ApproximateLinear):
    """``y_i = sum_l w_l(i) f_l(x)_i + b`` with L maps f_l of the group and weights w_l of every node.

    Exactly equivariant where each w_l is constant on node orbits, and so at the start: w_l = 1 / L. The penalty is ``alpha``
    times how much the weights differ within node orbits,

        "absolute"    sum_l sum_{i < i' in one orbit} |w_l(i) - w_l(i')|
        "squared"     sum_l sum_{i < i' in one orbit} (w_l(i) - w_l(i'))^2
        "orbit_mean"  sum_l sum_i (w_l(i) - mean of w_l over the orbit of i)^2

    No pair is listed: the first is found by sorting, O(L N log N); the second is the third with each orbit times its size. The
    penalty alone promises no exactness, however large ``alpha``: weights c times smaller with maps c times larger are the same
    layer and cost less. With weight decay on the maps they cannot grow, and alpha towards infinity leaves the group's maps only.

    Args:
        num_maps: L.
        alpha: weight of the penalty.
        kind: of the penalty.
        bias, parametrization, init, gain, rho: as in ``EquivariantLinear``; the bias stays the group's.

    Shapes:
        x: (*, N, C)    returns: (*, N, C')    mixing: (N, L), the weights

    Raises:
        ConfigError: fewer than one map, a negative alpha or an unknown kind.

    References:
        Wang, Walters and Yu (2022), arXiv:2201.11969, relaxed weight sharing.

    Example:
        >>> layer = RelaxedMixing(ClusterGroup(Partition([0, 0, 0, 1, 1, 2])), 2, 5, num_maps=3, alpha=0.1)
        >>> layer
        RelaxedMixing(2 -> 5 | 3 maps of S3 x S2 x S1 | 33 weights per channel pair and 18 of nodes)
        >>> layer(torch.randn(7, 6, 2)).shape, layer.equivariance_error() < 1e-12
        (torch.Size([7, 6, 5]), True)
    """

    labels: Tensor
    orbit_sizes: Tensor
    pairs_per_node: Tensor
    node_orbit: Tensor

    def __init__(
        self,
        group: NodeGroup,
        in_channels: int,
        out_channels: int,
        num_maps: int = 2,
        alpha: float = 0.0,
        kind: Spread = "absolute",
        *,
        bias: Bias | None = "orbit",
        parametrization: Parametrization = "canonical",
        init: Init = "white",
        gain: float = 1.0,
        rho: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(group, in_channels, out_channels, bias)
        check_count(num_maps=num_maps)
        check_at_least(0.0, alpha=alpha)
        check_choice("kind", kind, Spread)
        self.num_maps, self.alpha, self.kind = num_maps, alpha, kind
        # One map with L C' outputs; at weights 1 / L its outputs need L times the variance.
        start = {"init": init, "gain": gain * num_maps, "rho": rho, "generator": generator}
        self.maps = EquivariantLinear(
            group, in_channels, out_channels * num_maps, bias=None, parametrization=parametrization, **start  # type: ignore[arg-type]
        )  # fmt: skip
        orbits = group.node_orbits()
        self.mixing = nn.Parameter(torch.empty(group.degree, num_maps))
        node_orbit = orbits.labels[representatives(self.maps.orbits)[0]]
        pairs_per_node = self.maps.orbits.orbit_sizes // orbits.sizes[node_orbit]
        buffers = {
            "labels": orbits.labels,
            "orbit_sizes": orbits.sizes,
            "node_orbit": node_orbit,
            "pairs_per_node": pairs_per_node,
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)
        self._start(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the maps anew; every node weights them alike."""
        self.maps.reset_parameters(generator)
        self._start(generator)

    @torch.no_grad()
    def _start(self, generator: torch.Generator | None) -> None:
        self.mixing.fill_(1 / self.num_maps)
        self.reset_bias(Start(self.maps.init, 1.0, 0.5, generator))

    @property
    def num_weights(self) -> int:
        """Those of the maps, and N L."""
        return self.maps.num_weights + self.mixing.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the maps, then mix."""
        each = self.maps(x).unflatten(-1, (self.num_maps, self.out_channels))  # (*, N, L, C')
        y = (each * self.mixing.to(each.dtype)[..., None]).sum(-2)
        bias = self.bias_of_places()
        return y if bias is None else y + bias

    def dense(self) -> Tensor:
        """The explicit weight, (N, C', N, C), receiver first: for tests and for looking at."""
        maps = self.maps.dense().unflatten(1, (self.num_maps, self.out_channels))  # (N, L, C', N, C)
        return torch.einsum("nl,nlomi->nomi", self.mixing, maps)

    def broken(self) -> Tensor:
        """||W - mean of W||^2, from the values on pair orbits: O(L^2 count C C' + L^2 N).

        Averaging over the group leaves the maps as they are and averages their weights over node orbits.
        """
        return self._square_with(self.mixing - self._means().index_select(0, self.labels))

    def square(self) -> Tensor:
        """||W||^2 + ||b||^2, from the values on pair orbits."""
        bias = self.dense_bias()
        return self._square_with(self.mixing) + (0.0 if bias is None else bias.square().sum())

    def _means(self) -> Tensor:
        """The average weight of each node orbit, (orbits, L)."""
        sums = self.mixing.new_zeros(len(self.orbit_sizes), self.num_maps).index_add(0, self.labels, self.mixing)
        return sums / self.orbit_sizes.to(sums)[:, None]

    def _square_with(self, mixing: Tensor) -> Tensor:
        """Squared norm of sum_l diag(mixing_l) W_l, by the products of rows of the W_l, which nodes of one orbit share."""
        values = self.maps.weight.coefficients().unflatten(1, (self.num_maps, self.out_channels)).flatten(2)  # (count, L, C' C)
        products = torch.einsum("olp,omp->olm", values, values) * self.pairs_per_node.to(values)[:, None, None]
        rows = values.new_zeros(len(self.orbit_sizes), *products.shape[1:]).index_add(0, self.node_orbit, products)
        return torch.einsum("nl,nlm,nm->", mixing, rows.index_select(0, self.labels), mixing)

    def penalty(self) -> Tensor:
        """``alpha`` times how much the weights differ within node orbits."""
        if not self.alpha:
            return self._nothing()
        if self.kind == "absolute":
            return self.alpha * sum_of_gaps(self.mixing, self.labels)
        away = (self.mixing - self._means().index_select(0, self.labels)).square()
        if self.kind == "squared":
            away = away * self.orbit_sizes.index_select(0, self.labels).to(away)[:, None]
        return self.alpha * away.sum()

    def __repr__(self) -> str:
        per_pair = self.maps.num_weights // (self.in_channels * self.out_channels)
        maps = f"{self.num_maps} map{'' if self.num_maps == 1 else 's'} of {self.group.name}"
        weights = f"{per_pair} weights per channel pair and {self.mixing.numel()} of nodes"
        return f"RelaxedMixing({self.in_channels} -> {self.out_channels} | {maps} | {weights})"


def sum_of_gaps(values: Tensor, labels: Tensor) -> Tensor:
    """Sum of |v_i - v_i'| over columns and over pairs i < i' with one label, in O(N log N); equal values have no gradient.

    Shapes:
        values: (N, L)    labels: (N,) int64    returns: ()

    Example:
        >>> sum_of_gaps(torch.tensor([[1.0], [4.0], [2.0], [9.0]]), torch.tensor([0, 0, 0, 1]))  # 3 + 1 + 2
        tensor(6.)
    """
    num_labels = int(labels.max()) + 1
    columns = torch.arange(values.shape[1], device=labels.device)
    flat, places = values.t().flatten(), (columns[:, None] * num_labels + labels).flatten()
    with torch.no_grad():
        # Each value counts once for every smaller one of its place, and is taken off for every larger one.
        by_value = torch.argsort(flat, stable=True)
        order = by_value[torch.argsort(places[by_value], stable=True)]
        place, value = places[order], flat[order]
        is_new = torch.ones_like(place, dtype=torch.bool)
        is_new[1:] = (place[1:] != place[:-1]) | (value[1:] != value[:-1])
        start = torch.nonzero(is_new).flatten()
        ties = is_new.long().cumsum(0) - 1
        stop = torch.cat([start[1:], start.new_tensor([len(place)])])
        first = torch.searchsorted(place, place)
        last = torch.searchsorted(place, place, right=True)
        count = (start[ties] - first) - (last - stop[ties])
    return (flat.index_select(0, order) * count.to(flat.dtype)).sum()
