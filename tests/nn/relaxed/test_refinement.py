"""Orbits of a subgroup in those of a group: lifting, averaging, nesting; the map of values on orbits."""

import pytest
import torch

from gnet.errors import GroupError
from gnet.graphs import Partition, grid_patches
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.nn import EquivariantLinear
from gnet.nn.relaxed import Refinement
from gnet.nn.relaxed.orbit_map import OrbitMap
from gnet.nn.relaxed.refinement import Tower, representatives
from gnet.orbits import PairOrbits
from gnet.testing.tolerances import require_close
from tests.laws.cases import GROUPS
from tests.nn.relaxed.cases import DIHEDRAL, FINER, GROUP, RING, SWAPPED, TRIVIAL, WHOLE, by_elements, signals

NESTED = {
    "clusters": (FINER, GROUP),
    "trivial in clusters": (TRIVIAL, GROUP),
    "clusters in whole": (GROUP, WHOLE),
    "equal": (GROUP, GROUP),
    "swaps added": (ClusterGroup(SWAPPED.partition), SWAPPED),
    "swaps in whole": (SWAPPED, WHOLE),
    "trivial in swaps": (TRIVIAL, SWAPPED),
    "generators": (RING, DIHEDRAL),
    "clusters in generators": (TRIVIAL, RING),
    "generators in clusters": (DIHEDRAL, WHOLE),
    "swapped singletons": (
        SWAPPED,
        ClusterGroup(Partition.singletons(6), swaps=PermutationGroup([[1, 0, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]])),
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_lift_and_mean_are_those_of_the_maps(name, rng):
    small, large = NESTED[name]
    fine, coarse = PairOrbits.of(small), PairOrbits.of(large)
    inside = Refinement(fine, coarse)
    values, coarse_values = signals(fine.count, 3, 2, rng=rng), signals(coarse.count, 3, 2, rng=rng)
    torch.testing.assert_close(fine.matrix(inside.lift(coarse_values)), coarse.matrix(coarse_values))
    torch.testing.assert_close(coarse.matrix(inside.mean(values)), coarse.mean(fine.matrix(values)))
    torch.testing.assert_close(inside.mean(inside.lift(coarse_values)), coarse_values)
    torch.testing.assert_close(fine.matrix(inside.lost(values)), fine.matrix(values) - coarse.mean(fine.matrix(values)))
    torch.testing.assert_close(inside.square(values), fine.matrix(values).square().sum())
    if large.order() <= 720:
        torch.testing.assert_close(coarse.matrix(inside.mean(values)), torch.as_tensor(by_elements(fine.matrix(values), large)))


@pytest.mark.parametrize("name", NESTED)
def test_node_orbits(name, rng):
    small, large = (group.node_orbits() for group in NESTED[name])
    inside = Refinement(small, large)
    values = signals(small.num_clusters, 3, rng=rng)
    on_nodes = values[small.labels]
    torch.testing.assert_close(inside.lift(inside.mean(values))[small.labels], large.average(on_nodes))
    torch.testing.assert_close(inside.square(values), on_nodes.square().sum())


def test_orbits_of_edges(rng):
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 5, 0, 0, 1, 2, 3, 4, 5]])
    fine, coarse = PairOrbits.on(RING, edges), PairOrbits.on(DIHEDRAL, edges)
    inside = Refinement(fine, coarse)
    assert (fine.count, coarse.count) == (2, 1)
    assert inside.mean(torch.tensor([1.0, 4.0])).tolist() == [2.5]
    with pytest.raises(GroupError, match="which are not nested"):
        Refinement(PairOrbits.on(RING, edges[:, :6]), coarse)  # half of the coarse orbit


@pytest.mark.parametrize(
    ("fine", "coarse"),
    [(GROUP, FINER), (GROUP, RING), (RING, GROUP), (DIHEDRAL, RING), (SWAPPED, ClusterGroup(SWAPPED.partition))],
    ids=["exchanged", "clusters and ring", "ring and clusters", "generators", "swaps lost"],
)
def test_what_is_not_nested_is_refused(fine, coarse):
    with pytest.raises(
        GroupError, match=r"expected the orbits of a subgroup inside those of a group, got .*not nested; exchange"
    ):
        Refinement(PairOrbits.of(fine), PairOrbits.of(coarse))


def test_other_orbits_are_refused():
    with pytest.raises(GroupError, match="expected orbits on the same nodes, got 6 and 5"):
        Refinement(PairOrbits.of(GROUP), PairOrbits.of(SymmetricGroup(5)))
    with pytest.raises(GroupError, match="got one of each"):
        Refinement(GROUP.node_orbits(), PairOrbits.of(WHOLE))


def test_no_table_of_pairs_of_nodes_is_made_for_clusters():
    """20 000 nodes: an N x N table of labels would take 3.2 GB."""
    fine, coarse = (ClusterGroup(Partition(torch.arange(20_000) // size)) for size in (200, 2000))
    inside = Refinement(PairOrbits.of(fine), PairOrbits.of(coarse))
    assert (len(inside.sizes), len(inside.coarse_sizes)) == (100 * 101, 10 * 11)
    values = torch.arange(10.0 * 11)
    torch.testing.assert_close(inside.mean(inside.lift(values)), values)


def test_means_in_low_precision_are_summed_in_float32():
    fine, coarse = TrivialGroup(60), SymmetricGroup(60)
    inside = Refinement(PairOrbits.of(fine), PairOrbits.of(coarse))
    mean = inside.mean(torch.ones(3600, 1, 1, dtype=torch.bfloat16))
    assert mean.dtype == torch.bfloat16 and bool((mean == 1).all())


@pytest.mark.parametrize("name", GROUPS)
def test_one_pair_of_each_orbit(name):
    orbits = PairOrbits.of(GROUPS[name])
    assert orbits.labels_of(*representatives(orbits)).tolist() == list(range(orbits.count))


@pytest.mark.parametrize("name", GROUPS)
def test_maps_by_values_are_those_of_the_layer(name, rng):
    layer = EquivariantLinear(GROUPS[name], 2, 3, generator=rng).double()
    torch.nn.init.normal_(layer.bias, generator=rng)
    x = signals(4, layer.group.degree, 2, rng=rng)
    require_close("map", OrbitMap(layer.orbits)(x, layer.weight.coefficients(), layer.bias_of_places()), layer(x))


def test_increments_are_orthogonal(rng):
    chain = [PairOrbits.of(group) for group in (TRIVIAL, FINER, GROUP, WHOLE)]
    tower = Tower(chain)
    parts = tower.increments([signals(orbits.count, 2, 3, rng=rng) for orbits in chain])
    maps = torch.stack([orbits.matrix(part).flatten() for orbits, part in zip(chain, parts, strict=True)])
    gram = maps @ maps.t()
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()))
    torch.testing.assert_close(tower.squares(parts), gram.diagonal()[:-1])
    factors = torch.tensor([0.3, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(
        chain[0].matrix(tower.total(parts, factors)).flatten(), torch.cat([factors, factors.new_ones(1)]) @ maps
    )


def test_patches_of_an_image(rng):
    """7 x 7 patches in 28 x 28 pixels and 49 of them: what a user nests, at its size."""
    fine, coarse = (ClusterGroup(grid_patches((28, 28), (side, side))) for side in (14, 7))
    inside = Refinement(PairOrbits.of(fine), PairOrbits.of(coarse))
    assert len(inside.parent) == 196**2 + 196
    assert inside.coarse_sizes.sum() == inside.sizes.sum() == 784**2


@pytest.mark.parametrize("parametrization", ["canonical", "orbits", "reference"])
@pytest.mark.parametrize("name", NESTED)
def test_means_and_squares_of_weights_are_those_of_their_values(name, parametrization, rng):
    """By sums over blocks where the subgroup is one of clusters, with first and second derivatives."""
    small, large = NESTED[name]
    if parametrization == "reference" and not isinstance(small, ClusterGroup):
        pytest.skip("the published coordinates exist for clusters only")
    layer = EquivariantLinear(small, 2, 3, parametrization=parametrization, generator=rng).double()
    inside = Refinement(layer.orbits, PairOrbits.of(large))
    values = layer.weight.coefficients()
    torch.testing.assert_close(inside.mean_of(layer.weight), inside.mean(values))
    torch.testing.assert_close(inside.square_of(layer.weight), inside.square(values))
    weights = list(layer.weight.parameters())
    factors = signals(*inside.mean(values).shape, rng=rng)
    for fast, slow in (
        ((factors * inside.mean_of(layer.weight)).sum(), (factors * inside.mean(values)).sum()),
        (inside.square_of(layer.weight), inside.square(values)),
    ):
        pairs = zip(*(torch.autograd.grad(each, weights, retain_graph=True) for each in (fast, slow)), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other)


def test_sums_over_blocks_are_differentiable_twice_and_under_vmap(rng):
    layer = EquivariantLinear(FINER, 2, 3, generator=rng).double()
    inside = Refinement(layer.orbits, PairOrbits.of(GROUP))
    names = [name for name, _ in layer.weight.named_parameters()]

    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = layer.weight

        def forward(self) -> torch.Tensor:
            return inside.mean_of(self.weight)

    def mean(*values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(Mean(), {f"weight.{n}": v for n, v in zip(names, values, strict=True)}, ())

    values = tuple(p.detach().clone().requires_grad_() for p in layer.weight.parameters())
    assert torch.autograd.gradgradcheck(lambda *v: mean(*v).square(), values)
    stacked = tuple(torch.stack([v, 2 * v]) for v in values)
    torch.testing.assert_close(torch.vmap(mean)(*stacked), torch.stack([mean(*values), 2 * mean(*values)]))
