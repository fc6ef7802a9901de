"""The waist: labels, counts, matrices and means of pair orbits in each form, edges, and that large groups stay small."""

import gc

import pytest
import torch

from gnet import orbits as waist
from gnet.errors import GnetError, GraphError, GroupError, ShapeError
from gnet.graphs.partition import Partition
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.orbits import DENSE_LIMIT, Blocks, PairOrbits, Sparse, Table, close_edges
from gnet.testing import enumerate_elements
from tests.largest import no_tensor_over
from tests.laws.cases import CLUSTER_GROUPS, GENERATOR_GROUPS, GROUPS, TIED_GROUPS

PARTITION = Partition([1, 0, 1, 2, 0, 1], num_clusters=3)  # sizes 2, 3, 1
FLIP = PermutationGroup([[2, 1, 0]])


@pytest.fixture(params=GROUPS)
def group(request: pytest.FixtureRequest) -> NodeGroup:
    return GROUPS[request.param]


def test_form_follows_the_kind_of_group():
    assert all(isinstance(PairOrbits.of(g), Blocks) for g in [*CLUSTER_GROUPS.values(), *TIED_GROUPS.values()])
    assert all(isinstance(PairOrbits.of(g), Table) for g in GENERATOR_GROUPS.values())


def test_labels_are_the_orbits_of_pairs(group):
    labels = PairOrbits.of(group).labels()
    elements = enumerate_elements(group)
    for i in range(group.degree):
        for j in range(group.degree):
            orbit = set(zip(elements[:, i].tolist(), elements[:, j].tolist(), strict=True))
            assert orbit == {tuple(pair) for pair in torch.nonzero(labels == labels[i, j]).tolist()}


def test_labels_are_numbered_without_gaps(group):
    orbits = PairOrbits.of(group)
    assert torch.unique(orbits.labels()).tolist() == list(range(orbits.count))
    assert torch.equal(orbits.orbit_sizes, torch.bincount(orbits.labels().flatten()))
    assert int(orbits.orbit_sizes.sum()) == group.degree**2


def test_labels_of_single_pairs_are_those_of_the_table(group, rng):
    orbits = PairOrbits.of(group)
    receivers, senders = torch.randint(group.degree, (2, 30), generator=rng)
    assert torch.equal(orbits.labels_of(receivers, senders), orbits.labels()[receivers, senders])


def test_matrix_and_coefficients_are_inverse(group, rng):
    orbits = PairOrbits.of(group)
    for shape in [(orbits.count,), (orbits.count, 3, 2)]:
        weights = torch.randn(shape, dtype=torch.float64, generator=rng)
        torch.testing.assert_close(orbits.coefficients(orbits.matrix(weights)), weights)


def test_matrix_puts_receivers_first():
    weights = torch.arange(12.0)
    matrix = PairOrbits.of(ClusterGroup(PARTITION)).matrix(weights[: 3 * 3 + 2])
    labels = PairOrbits.of(ClusterGroup(PARTITION)).labels()
    assert matrix[1, 0] == weights[labels[1, 0]]  # receiver node 1 in cluster 0, sender node 0 in cluster 1
    assert labels[1, 0] == 0 * 3 + 1
    dense = PairOrbits.of(ClusterGroup(PARTITION)).matrix(torch.randn(11, 5, 2))
    assert dense.shape == (6, 5, 6, 2)


def test_a_singleton_block_has_one_orbit():
    labels = PairOrbits.of(ClusterGroup(PARTITION)).labels()
    assert labels[3, 3] == 2 * 3 + 2
    assert labels[0, 0] != labels[0, 2]


@pytest.mark.parametrize(
    ("orbits", "text"),
    [
        (PairOrbits.of(ClusterGroup(PARTITION)), "Blocks(3 clusters of 6 nodes, 11 orbits)"),
        (PairOrbits.of(FLIP), "Table(3 nodes, 5 orbits)"),
        (PairOrbits.on(FLIP, torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])), "Sparse(3 nodes, 4 edges, 2 orbits)"),
    ],
)
def test_repr(orbits, text):
    assert repr(orbits) == text


def test_edges_are_numbered_by_first_appearance():
    path = torch.tensor([[1, 0, 1, 2], [0, 1, 2, 1]])  # from the middle outwards first
    for orbits in (PairOrbits.of(FLIP), PairOrbits.on(FLIP, path)):
        assert orbits.edge_labels(path).tolist() == [0, 1, 0, 1]
        assert orbits.edge_labels(path.flip(1)).tolist() == [0, 1, 0, 1]


def test_row_zero_of_edge_index_is_the_sender():
    edges = torch.tensor([[0, 2], [1, 1]])  # into the middle
    orbits = PairOrbits.on(FLIP, edges)
    assert orbits.labels().tolist() == [[-1, -1, -1], [0, -1, 0], [-1, -1, -1]]
    assert orbits.matrix(torch.tensor([2.0])).tolist() == [[0, 0, 0], [2, 0, 2], [0, 0, 0]]


def test_sparse_orbits_are_the_dense_ones_on_the_support(group, rng):
    labels = PairOrbits.of(group).labels()
    kept = torch.rand(int(labels.max()) + 1, generator=rng) < 0.5
    kept[0] = True
    receivers, senders = torch.nonzero(kept[labels], as_tuple=True)
    sparse = PairOrbits.on(group, torch.stack([senders, receivers]))
    assert isinstance(sparse, Sparse)
    assert sparse.count == int(kept.sum())
    weight = torch.randn(group.degree, group.degree, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(sparse.mean(weight), PairOrbits.of(group).mean(weight) * kept[labels])


def test_duplicate_edges_share_an_orbit():
    twice = torch.tensor([[0, 2, 0], [1, 1, 1]])
    assert PairOrbits.on(FLIP, twice).edge_labels(twice).tolist() == [0, 0, 0]
    assert PairOrbits.of(FLIP).edge_labels(twice).tolist() == [0, 0, 0]
    assert PairOrbits.on(FLIP, twice).orbit_sizes.tolist() == [2]


BROKEN = [
    (ClusterGroup(Partition([0, 0, 1])), [[0], [2]], r"edge \(0, 2\) is there, its image \(1, 2\) is not"),
    (SymmetricGroup(3), [[0, 1, 1, 2, 2], [1, 0, 2, 1, 0]], r"edge \(\d, \d\) is there, its image \(0, 2\) is not"),
    (FLIP, [[0], [1]], r"edge \(0, 1\) is there, its image \(2, 1\) is not"),
]


@pytest.mark.parametrize(("group", "edges", "message"), BROKEN)
def test_edges_that_are_no_union_of_orbits_are_refused(group, edges, message):
    with pytest.raises(GraphError, match=f"the edges are no union of orbits: {message}; add the missing images"):
        PairOrbits.of(group).edge_labels(torch.tensor(edges))
    with pytest.raises(GraphError, match=f"the edges are no union of orbits: {message}; add the missing images"):
        PairOrbits.on(group, torch.tensor(edges))


def test_an_edge_off_the_support_is_refused():
    with pytest.raises(GraphError, match=r"edge \(1, 0\) is not in the support"):
        PairOrbits.on(FLIP, torch.tensor([[0, 2], [1, 1]])).edge_labels(torch.tensor([[1, 1], [0, 2]]))


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (torch.tensor([[0, 3], [1, 1]]), r"expected edges among nodes 0\.\.2, got 0\.\.3"),
        (torch.tensor([[0, -1], [1, 1]]), r"expected edges among nodes 0\.\.2, got -1\.\.1"),
        (torch.zeros(3, 2, dtype=torch.long), r"expected edge_index of shape \(2, E\) with integers, got \(3, 2\)"),
        (torch.zeros(2, 2), r"expected edge_index of shape \(2, E\) with integers, got \(2, 2\) of torch.float32"),
        (torch.zeros(2, dtype=torch.long), r"expected edge_index of shape \(2, E\) with integers, got \(2,\)"),
    ],
)
def test_impossible_edges_are_refused(edges, message):
    with pytest.raises(GraphError, match=message):
        PairOrbits.of(FLIP).edge_labels(edges)
    with pytest.raises(GraphError, match=message):
        PairOrbits.on(FLIP, edges)


@pytest.mark.parametrize("group", [FLIP, SymmetricGroup(3)])
def test_no_edges_have_no_orbits(group):
    none = torch.empty(2, 0, dtype=torch.long)
    assert PairOrbits.of(group).edge_labels(none).tolist() == []
    assert PairOrbits.on(group, none).count == 0


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.zeros(3, 3, dtype=torch.long), r"expected a floating-point map, got torch.int64; convert with .double\(\)"),
        (torch.zeros(4, 4), r"expected a map of shape \(3, 3\) or \(3, C', 3, C\), got \(4, 4\)"),
        (torch.zeros(3, 4), r"expected a map of shape \(3, 3\)"),
        (torch.zeros(3, 2, 4, 2), r"expected a map of shape \(3, 3\)"),
        (torch.zeros(3, 2, 3), r"expected a map of shape \(3, 3\)"),
    ],
)
def test_maps_of_another_shape_or_type_are_refused(weight, message):
    for group in (FLIP, SymmetricGroup(3)):
        with pytest.raises(ShapeError, match=message):
            PairOrbits.of(group).mean(weight)


@pytest.mark.parametrize("shape", [(4,), (5, 2), (6, 1, 1), (5, 1, 1, 1)])
def test_weights_of_another_shape_are_refused(shape):
    with pytest.raises(ShapeError, match=r"expected weights of shape \(5,\) or \(5, C', C\), got"):
        PairOrbits.of(FLIP).matrix(torch.zeros(shape))


def test_gradients_flow_through_mean_and_matrix(group, rng):
    orbits = PairOrbits.of(group)
    weight = torch.randn(group.degree, 2, group.degree, 1, dtype=torch.float64, generator=rng, requires_grad=True)
    assert torch.autograd.gradcheck(orbits.mean, weight, fast_mode=True)


def test_the_watch_sees_a_large_tensor():
    with pytest.raises(AssertionError, match="a tensor of 1024 entries was made"), no_tensor_over(100):
        PairOrbits.of(SymmetricGroup(32)).labels()


@pytest.mark.parametrize("swaps", [None, PermutationGroup([[*range(1, 50), 0]])], ids=["untied", "tied"])
def test_a_hundred_thousand_nodes_make_no_table(swaps):
    nodes, k = 100_000, 50
    group = ClusterGroup(Partition(torch.arange(nodes) % k), swaps)
    edges = torch.stack([torch.arange(nodes), torch.arange(nodes)])
    with no_tensor_over(2 * nodes):
        orbits = PairOrbits.of(group)
        assert orbits.count == (k * k + k if swaps is None else k + 1)
        assert int(orbits.orbit_sizes.sum()) == nodes**2
        assert int(orbits.edge_labels(edges).max()) + 1 == (k if swaps is None else 1)


def test_edges_of_a_hundred_thousand_clusters_make_no_table():
    """Neither N x N nor k x k: the ring with and without a swap that turns it round."""
    nodes = 100_000
    ring = torch.arange(nodes)
    edges = torch.stack([ring, (ring + 1) % nodes])
    with no_tensor_over(20 * nodes):
        group = TrivialGroup(nodes)
        assert PairOrbits.on(group, edges).count == nodes
        assert torch.equal(close_edges(group, edges), edges[:, torch.argsort(edges[0])])
    with pytest.raises(GroupError, match=r"at most 8192 clusters .*, got 100000: .* sparse support \(OrbitConv\)"):
        PairOrbits.of(group)


@pytest.mark.parametrize("name", CLUSTER_GROUPS | TIED_GROUPS)
def test_edge_orbits_from_clusters_are_those_of_the_table(name, rng):
    """Sparse against the k x k form, on closed random edges; and the closure against that of the generators."""
    group = (CLUSTER_GROUPS | TIED_GROUPS)[name]
    n = group.degree
    for _ in range(5):
        some = torch.randint(n, (2, 3), generator=rng)
        closed = close_edges(group, some)
        assert torch.equal(closed, close_edges(PermutationGroup(list(group.generators), degree=n), some))
        shuffled = closed[:, torch.randperm(closed.shape[1], generator=rng)]
        orbits = PairOrbits.of(group)
        assert torch.equal(PairOrbits.on(group, shuffled).orbits, Partition(orbits.labels_of(shuffled[1], shuffled[0])).labels)
        if closed.shape[1] > 1:
            broken = closed[:, 1:]
            is_union = bool(
                (torch.bincount(orbits.labels_of(broken[1], broken[0]), minlength=orbits.count) % orbits.orbit_sizes == 0).all()
            )
            if not is_union:
                with pytest.raises(GraphError, match=r"the edges are no union of orbits: edge \(.*\) is there, its image"):
                    PairOrbits.on(group, broken)


def test_a_missing_swap_of_an_edge_is_named():
    group = TIED_GROUPS["tied singletons"]
    with pytest.raises(GraphError, match=r"edge \(\d, \d\) is there, its image \(\d, \d\) is not; add the missing images"):
        PairOrbits.on(group, torch.tensor([[3, 3], [0, 5]]))


def test_long_orbits_are_closed_in_few_rounds():
    turn = PermutationGroup([torch.arange(3000).roll(1)])
    closed = close_edges(turn, torch.tensor([[0], [2]]))
    assert closed.shape == (2, 3000)
    assert bool(((closed[1] - closed[0]) % 3000 == 2).all())


def test_a_broken_edge_set_of_a_large_group_is_named_without_a_table():
    nodes = 300
    orbits = PairOrbits.of(SymmetricGroup(nodes))
    with no_tensor_over(20 * nodes), pytest.raises(GraphError, match="no union of orbits"):
        orbits.edge_labels(torch.tensor([[0], [1]]))


def test_a_general_group_that_is_too_large_is_refused():
    group = PermutationGroup([torch.arange(DENSE_LIMIT + 1).roll(1)])
    with pytest.raises(GroupError, match=r"expected at most 4096 nodes .*, got 4097: .* sparse support \(OrbitConv\)"):
        PairOrbits.of(group)


def test_a_general_group_that_is_too_large_works_on_a_support():
    nodes = DENSE_LIMIT + 1
    ring = torch.stack([torch.arange(nodes), torch.arange(nodes).roll(1)])
    with no_tensor_over(20 * nodes):
        assert PairOrbits.on(PermutationGroup([torch.arange(nodes).roll(1)]), ring).count == 1


def test_what_is_no_node_group_is_refused():
    with pytest.raises(GnetError, match="node group"):
        PairOrbits.of(PARTITION)


def test_the_table_of_a_group_is_made_once_and_forgotten_with_it():
    group = PermutationGroup([[1, 2, 0]])
    table = PairOrbits.of(group)
    assert PairOrbits.of(group) is table
    assert PairOrbits.of(PermutationGroup([[1, 2, 0]])) is not table
    number = id(group)
    del group
    gc.collect()
    assert number not in waist._TABLES
