"""Translations of a torus: torch's convolution against the explicit map, and where it is not taken."""

import pytest
import torch

from gnet.groups import PermutationGroup, SymmetricGroup, grid_group
from gnet.groups.grid import torus_shape
from gnet.nn import OrbitConv
from gnet.orbits import close_edges
from gnet.testing import check_layer


def conv(shape: tuple[int, int], offsets: list[tuple[int, int]], channels: tuple[int, int] = (2, 3)) -> OrbitConv:
    """The convolution from nodes at these offsets (down, right), without the node itself."""
    group = grid_group(shape, "translations")
    senders = [row % shape[0] * shape[1] + column % shape[1] for row, column in offsets]
    edges = close_edges(group, torch.tensor([senders, [0] * len(senders)]))
    return OrbitConv(group, *channels, edges, add_self_loops=False)


SQUARE = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
CASES = {
    "square": ((5, 4), SQUARE),
    "one side": ((4, 6), [(0, 1), (1, 0), (1, 1)]),
    "half way round": ((4, 4), [(2, 0), (0, 0), (0, 2), (1, 0), (0, 1), (2, 1), (2, 2)]),
    "two rows": ((2, 5), [(0, 0), (1, 0), (1, 1), (0, 1)]),
    "all pairs": ((3, 3), [(row, column) for row in range(3) for column in range(3)]),
}


@pytest.mark.parametrize("case", CASES)
def test_laws(case):
    """Equivariance, completeness on the support, fast = explicit, gradients."""
    layer = conv(*CASES[case])
    assert layer.window is not None and len(layer.window.places) == layer.orbits.count
    check_layer(layer, layer.group)


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_sum_over_edges(case, rng):
    layer = conv(*CASES[case]).double()
    x = torch.randn(2, 3, layer.group.degree, 2, generator=rng, dtype=torch.float64, requires_grad=True)
    fast = layer(x)
    grads = torch.autograd.grad(fast.square().sum(), [x, *layer.parameters()])
    layer.window = None
    slow = layer(x)
    torch.testing.assert_close(fast, slow)
    for one, other in zip(grads, torch.autograd.grad(slow.square().sum(), [x, *layer.parameters()]), strict=True):
        torch.testing.assert_close(one, other)


def test_offsets_in_another_order_are_a_liar(rng):
    layer = conv(*CASES["one side"]).double()
    x, window = torch.randn(4, 24, 2, generator=rng, dtype=torch.float64), layer.window
    wrong = type(window)(window.shape, window.places[::-1])
    assert not torch.allclose(wrong.convolve(x, layer.weight), window.convolve(x, layer.weight))


def test_far_offsets_and_other_groups_go_along_edges():
    assert conv((9, 9), [(4, 0), (0, 4)]).window is None  # a kernel of 81 places for two offsets
    edges = close_edges(grid_group((4, 4), ["translations", "half_turn"]), torch.tensor([[1], [0]]))
    assert OrbitConv(grid_group((4, 4), ["translations", "half_turn"]), 1, 1, edges).window is None


def test_it_works_under_vmap_and_without_samples():
    layer = conv((5, 4), SQUARE)
    x = torch.randn(3, 2, 20, 2)
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
    assert layer(x[:0]).shape == (0, 2, 20, 3)


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (2, 2), (5, 2)])
def test_a_torus_is_told_by_its_generators(shape):
    group = grid_group(shape, "translations")
    assert torus_shape(group) == shape
    assert torus_shape(PermutationGroup(list(group.generators)[::-1])) is None
    assert torus_shape(SymmetricGroup(6)) is None
    assert torus_shape(PermutationGroup([[1, 2, 3, 0], [0, 1, 3, 2]])) is None
