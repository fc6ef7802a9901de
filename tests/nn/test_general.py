"""The dense layer of groups that are none of clusters: two ways to the same numbers, and nothing large made."""

import pytest
import torch

from gnet.groups import PermutationGroup, grid_group
from gnet.nn import EquivariantLinear
from tests.largest import no_tensor_over


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_a_general_group_gives_the_same_numbers_whatever_the_batch(batch, rng):
    """Few signals are summed over orbits first, many go through the explicit matrix."""
    layer = EquivariantLinear(grid_group((8, 8), ["translations", "dihedral"]), 3, 4, generator=rng).double()
    assert layer.weight.rows is not None
    x = torch.randn(batch, 64, 3, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(layer(x), torch.einsum("nomi,bmi->bno", layer.dense(), x) + layer.dense_bias())


def test_the_start_of_a_general_layer_makes_nothing_of_nodes_times_orbits():
    """The half turn of 400 nodes has 80 000 pair orbits: a table of nodes x orbits would have 32 million entries."""
    with no_tensor_over(3 * 400**2):
        layer = EquivariantLinear(PermutationGroup([torch.arange(400).flip(0)]), 1, 1)
    assert layer.num_weights == 400**2 // 2
    assert bool((layer.weight.weight != 0).all())
