"""Isotypic decompositions: multiplicities and types, orthogonality, and the layer in that basis against the orbit layer."""

import pytest
import torch

from gnet.errors import GroupError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, TrivialGroup, automorphism_group, grid_group
from gnet.nn import EquivariantLinear, IsotypicLinear, isotypic_decomposition
from gnet.orbits import PairOrbits
from gnet.testing import check_layer
from tests.groups.graphs import KNOWN, as_data, skeleton

# Right multiplication by i and j on the quaternion group 1 i -1 -i j k' ...: its regular representation.
QUATERNIONS = PermutationGroup([[1, 2, 3, 0, 5, 6, 7, 4], [4, 7, 6, 5, 2, 1, 0, 3]])
CASES = {
    "skeleton": (automorphism_group(as_data(skeleton())), (10, 3, 3), (1, 1, 1), "real real real"),
    "4 x 4 grid under D4": (grid_group((4, 4), "dihedral"), (3, 3, 1, 1, 4), (1, 1, 1, 1, 2), "real real real real real"),
    "C3": (PermutationGroup([[1, 2, 0]]), (1, 1), (1, 2), "real complex"),
    "C4": (PermutationGroup([[1, 2, 3, 0]]), (1, 1, 1), (1, 1, 2), "real real complex"),
    "quaternions": (QUATERNIONS, (1, 1, 1, 1, 1), (1, 1, 1, 1, 4), "real real real real quaternionic"),
    "trivial": (TrivialGroup(4), (4,), (1,), "real"),
    "S5": (SymmetricGroup(5), (1, 1), (1, 4), "real real"),
    "[3, 2, 1]": (ClusterGroup(Partition([0, 0, 0, 1, 1, 2])), (3, 1, 1), (1, 1, 2), "real real real"),
    "Petersen": (automorphism_group(as_data(KNOWN["Petersen"][0])), (1, 1, 1), (1, 4, 5), "real real real"),
}


@pytest.mark.parametrize("case", CASES)
def test_multiplicities_and_types(case):
    group, multiplicities, dims, types = CASES[case]
    found = isotypic_decomposition(group)
    assert found.multiplicities == multiplicities
    assert tuple(component.dim for component in found.components) == dims
    assert " ".join(found.types) == types
    assert sum(component.num_maps for component in found.components) == PairOrbits.of(group).count


@pytest.mark.parametrize("case", CASES)
def test_the_basis_is_orthonormal_and_copies_move_alike(case, rng):
    group = CASES[case][0]
    found = isotypic_decomposition(group)
    torch.testing.assert_close(found.basis.mT @ found.basis, torch.eye(group.degree, dtype=torch.float64))
    for g in group.sample(4, rng):
        for component in found.components:
            moved = group.act(g, component.basis)
            first = component.basis[0].mT @ moved[0]
            for copy, image in zip(component.basis, moved, strict=True):
                torch.testing.assert_close(copy @ first, image)


@pytest.mark.parametrize("case", CASES)
def test_laws(case):
    check_layer(IsotypicLinear(CASES[case][0], 2, 3), CASES[case][0])


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_orbit_layer_in_another_basis(case, rng):
    group = CASES[case][0]
    orbit, isotypic = (kind(group, 2, 3).double() for kind in (EquivariantLinear, IsotypicLinear))
    isotypic.set_dense(orbit.dense().detach())
    x = torch.randn(5, group.degree, 2, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(isotypic(x), orbit(x), atol=1e-12, rtol=1e-12)
    assert isotypic.num_weights == orbit.num_weights


def test_setting_a_map_that_is_not_equivariant_takes_its_projection(rng):
    group = CASES["skeleton"][0]
    weight = torch.randn(16, 3, 16, 2, generator=rng, dtype=torch.float64)
    layer = IsotypicLinear(group, 2, 3).double()
    layer.set_dense(weight)
    torch.testing.assert_close(layer.dense(), PairOrbits.of(group).mean(weight))
    with pytest.raises(ShapeError, match=r"expected a map of shape \(16, 3, 16, 2\), got \(16, 16\)"):
        layer.set_dense(torch.zeros(16, 16))


def test_it_starts_with_variance_one(rng):
    group = CASES["4 x 4 grid under D4"][0]
    x = torch.randn(200, 16, 4, generator=rng)
    second = torch.stack([IsotypicLinear(group, 4, 8, generator=rng)(x).square().mean() for _ in range(100)]).mean()
    assert abs(float(second) - 1) < 0.1


def test_large_groups_are_refused():
    with pytest.raises(GroupError, match="expected at most 4096 nodes"):
        isotypic_decomposition(grid_group((100, 100), "dihedral"))
