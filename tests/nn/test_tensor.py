"""Tensors of order up to two: counts against Stirling numbers and brute force, laws with liars, errors."""

import itertools
import math

import pytest
import torch

from gnet.errors import ConfigError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.groups.permutation import orbit_labels
from gnet.nn import EquivariantLinear, InvariantLinear, TensorLinear
from gnet.nn.tensor import operations
from gnet.orbits import PairOrbits
from gnet.testing import LawBroken, check_layer, enumerate_elements, expressible_rank

GROUPS = {
    "symmetric": SymmetricGroup(4),
    "few nodes": SymmetricGroup(3),
    "interleaved": ClusterGroup(Partition([1, 0, 1, 0, 0])),
    "singletons": ClusterGroup(Partition([0, 1, 0, 2])),
    "swapped": ClusterGroup(Partition([0, 1, 0, 1]), swaps=PermutationGroup([[1, 0]])),
    "swapped singletons": ClusterGroup(Partition([0, 1, 2, 0]), swaps=PermutationGroup([[0, 2, 1]])),
    "trivial": TrivialGroup(3),
    "one node": SymmetricGroup(1),
}
ORDERS = list(itertools.product(range(3), repeat=2))


def brute_force_orbits(group: NodeGroup, order: int) -> int:
    """Orbits of the group on [N]^order by joining every tuple with its images under the generators."""
    n = group.degree
    tuples = torch.tensor(list(itertools.product(range(n), repeat=order)), dtype=torch.long).reshape(n**order, order)
    powers = n ** torch.arange(order - 1, -1, -1)
    images = [(g[tuples] * powers).sum(1) for g in group.generators]
    return int(orbit_labels(torch.stack(images)).max()) + 1 if images else n**order


def truncated_count(sizes: list[int], order: int) -> int:
    """m! times the coefficient of t^m in prod_l sum_{b <= c_l} (e^t - 1)^b / b!, in exact integers (theory I.7)."""
    total = [1] + [0] * order  # numbers of ways to place j labelled positions, one cluster after the other
    for size in sizes:
        ways = [sum(stirling(j, b) for b in range(min(size, j) + 1)) for j in range(order + 1)]
        total = [sum(math.comb(j, i) * total[i] * ways[j - i] for i in range(j + 1)) for j in range(order + 1)]
    return total[order]


def stirling(size: int, blocks: int) -> int:
    """Stirling numbers of the second kind by their recurrence."""
    if size == blocks:
        return 1
    return 0 if blocks in (0, size + 1) or blocks > size else blocks * stirling(size - 1, blocks) + stirling(size - 1, blocks - 1)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_large_clusters_have_as_many_weights_as_the_stirling_numbers_say(k):
    group = ClusterGroup(Partition(torch.arange(4 * k) % k))
    assert operations(group, 1, 1)[1] == k + k**2
    assert operations(group, 2, 2)[1] == k + 7 * k**2 + 6 * k**3 + k**4
    assert operations(group, 2, 2)[1] == sum(stirling(4, j) * k**j for j in range(5))
    assert operations(group, 2, 1)[1] == sum(stirling(3, j) * k**j for j in range(4))


def test_the_symmetric_group_has_15_operations():
    assert TensorLinear(SymmetricGroup(10), 2, 3).num_weights == 15 * 2 * 3
    assert [operations(SymmetricGroup(n), 2, 2)[1] for n in (1, 2, 3, 4)] == [1, 8, 14, 15]


@pytest.mark.parametrize("sizes", [[1, 1], [2, 1], [3, 2, 1], [4, 4], [5, 1, 2]])
def test_small_clusters_have_the_truncated_count(sizes):
    group = ClusterGroup(Partition(torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))))
    for order_in, order_out in ORDERS:
        assert operations(group, order_in, order_out)[1] == truncated_count(sizes, order_in + order_out)


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize(("order_in", "order_out"), ORDERS)
def test_reaches_every_equivariant_map(name, order_in, order_out):
    """The rank of what the layer expresses is the number of orbits of tuples, found by brute force."""
    group = GROUPS[name]
    layer = TensorLinear(group, 1, 1, order_in, order_out)
    assert expressible_rank(layer) == brute_force_orbits(group, order_in + order_out) == layer.num_weights


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize(("order_in", "order_out"), ORDERS)
def test_laws(name, order_in, order_out, rng):
    group = GROUPS[name]
    layer = TensorLinear(group, 2, 3, order_in, order_out)
    x = torch.randn(2, *layer.in_shape, generator=rng, dtype=torch.float64)
    actions = {"action_in": group.tensor_action(order_in), "action_out": group.tensor_action(order_out)}
    check_layer(layer, group, x, completeness=False, **actions)


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("order", range(3))
def test_the_bias_is_every_constant_that_the_group_keeps(name, order, rng):
    group = GROUPS[name]
    layer = TensorLinear(group, 1, 1, 0, order).double()
    assert len(layer.bias) == brute_force_orbits(group, order)
    with torch.no_grad():
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=rng, dtype=torch.float64))
    constant = layer.dense_bias()
    assert len(torch.unique(constant.detach())) == len(layer.bias)
    act = group.tensor_action(order)
    for g in group.generators:
        torch.testing.assert_close(act(g, constant), constant)


def test_a_layer_of_a_larger_group_is_no_liar_and_one_of_a_smaller_group_is(rng):
    small, large = GROUPS["singletons"], SymmetricGroup(4)
    x = torch.randn(2, 4, 4, 2, generator=rng, dtype=torch.float64)
    actions = {"action_in": large.tensor_action(2), "action_out": large.tensor_action(2)}
    check_layer(TensorLinear(large, 2, 3), small, x, completeness=False, **actions)
    with pytest.raises(LawBroken, match="equivariance"):
        check_layer(TensorLinear(small, 2, 3), large, x, completeness=False, **actions)


def test_a_layer_that_forgets_an_operation_does_not_reach_every_map():
    layer = TensorLinear(SymmetricGroup(4), 1, 1)
    layer.operations = layer.operations[1:]
    assert expressible_rank(layer) == 14


def test_the_group_average_of_a_dense_map_is_a_map_of_the_layer(rng):
    """Against brute force: W averaged over all elements lies in the span of the layer's maps."""
    group = GROUPS["interleaved"]
    layer = TensorLinear(group, 1, 1, 2, 1).double()
    n = group.degree
    dense = torch.randn(n, n, n, generator=rng, dtype=torch.float64)  # receiver, then the pair
    mean = torch.stack([dense[g][:, g][:, :, g] for g in enumerate_elements(group)]).mean(0)
    units = torch.eye(n * n, dtype=torch.float64).reshape(-1, n, n, 1)
    columns = []
    for row in range(len(layer.weight)):
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[row] = 1.0
            columns.append(layer(units)[..., 0].T.reshape(-1))
    basis = torch.linalg.qr(torch.stack(columns, 1)).Q
    flat = mean.reshape(-1)
    torch.testing.assert_close(basis @ (basis.T @ flat), flat)
    assert float((dense.reshape(-1) - basis @ (basis.T @ dense.reshape(-1))).norm()) > 1.0


def test_order_one_reaches_what_the_other_layers_reach():
    group = GROUPS["swapped singletons"]
    assert TensorLinear(group, 2, 3, 1, 1).num_weights == EquivariantLinear(group, 2, 3).num_weights
    assert TensorLinear(group, 2, 3, 1, 0).num_weights == InvariantLinear(group, 2, 3).num_weights
    assert TensorLinear(group, 1, 1, 0, 2).num_weights == PairOrbits.of(group).count


def test_matrix_operations_of_the_symmetric_group(rng):
    """The maps a reader knows: transpose, trace, row sums and diagonal are among the 15."""
    x = torch.randn(5, 5, 1, generator=rng, dtype=torch.float64)
    layer = TensorLinear(SymmetricGroup(5), 1, 1, bias=False).double()
    seen = []
    for row in range(15):
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[row] = 1.0
        seen.append(layer(x)[..., 0])
    matrix, eye, ones = x[..., 0], torch.eye(5, dtype=torch.float64), torch.ones(5, 5, dtype=torch.float64)
    known = [
        matrix,
        matrix.T,
        torch.diag(matrix.diagonal()),
        matrix.diagonal().mean() * eye,
        matrix.mean() * ones,
        matrix.mean(1)[:, None] * ones,
        torch.diag(matrix.mean(0)),
    ]
    for expected in known:
        assert any(torch.allclose(each, expected) for each in seen)


@pytest.mark.parametrize("name", ["symmetric", "interleaved"])
def test_it_starts_with_variance_one(name, rng):
    group = ClusterGroup(Partition(torch.arange(12) % 2)) if name == "interleaved" else SymmetricGroup(12)
    # New signals for each layer: the mean of one would be common to all.
    drawn = ((TensorLinear(group, 8, 16, generator=rng), torch.randn(2, 12, 12, 8, generator=rng)) for _ in range(60))
    second = torch.stack([layer(x).square().mean((0, 3)) for layer, x in drawn]).mean(0)
    off = ~torch.eye(12, dtype=torch.bool)
    torch.testing.assert_close(second[off].mean(), torch.ones(()), atol=0.1, rtol=0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PermutationGroup([[1, 0]]), 1, 1), "expected a cluster group, got PermutationGroup; tensors of order two are made for"),
        ((SymmetricGroup(3), 1, 1, 3, 1), "expected orders 0, 1 or 2, got order_in=3 and order_out=1"),
        ((SymmetricGroup(3), 0, 1), "expected whole numbers of channels"),
    ],
)
def test_layers_that_do_not_exist_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        TensorLinear(*arguments)


@pytest.mark.parametrize(("order_in", "order_out"), ORDERS)
def test_no_signals_at_all(order_in, order_out):
    layer = TensorLinear(GROUPS["interleaved"], 2, 3, order_in, order_out)
    assert layer(torch.zeros(0, *layer.in_shape)).shape == (0, *[5] * order_out, 3)


def test_inputs_of_another_shape_are_refused():
    layer = TensorLinear(SymmetricGroup(3), 2, 1)
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, 3, 3, 2\), got \(3, 2\)"):
        layer(torch.zeros(3, 2))
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, 3, 3, 2\), got list"):
        layer([1.0])
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, N, N, C\) with N = 3, got \(3, 2, 1\)"):
        SymmetricGroup(3).tensor_action(2)(torch.tensor([0, 1, 2]), torch.zeros(3, 2, 1))
    with pytest.raises(ShapeError, match=r"expected x of dtype torch\.float32, got torch\.float64"):
        layer(torch.zeros(3, 3, 2, dtype=torch.float64))
