"""Few invariants: check values, invariance, what they tell apart and what they cannot, and errors."""

import itertools
from collections.abc import Callable, Iterable

import pytest
import torch

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.groups.haar import haar_orthogonal
from gnet.plugins.expressivity import pairs
from gnet.plugins.point_clouds import cloud_invariants, matrix_invariants
from gnet.plugins.scalars.anchors import gram_from_anchors

DOUBLE = {"rtol": 1e-10, "atol": 1e-10}


def symmetric(n: int, rng: torch.Generator) -> torch.Tensor:
    X = torch.randn(n, n, dtype=torch.float64, generator=rng)
    return X + X.mT


def moved(V: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """The cloud under an element of O(d), the points in another order, the first of them never first."""
    g = haar_orthogonal(V.shape[-1], 1, rng)[0].to(V)
    order = torch.cat([torch.randperm(len(V) - 1, generator=rng) + 1, torch.zeros(1, dtype=torch.long)])
    return V[order] @ g.mT


def change(invariants: Callable[[torch.Tensor], Iterable[torch.Tensor]], V: torch.Tensor, rng: torch.Generator) -> float:
    """How much invariants of a cloud change when it is moved: the largest of four."""
    found = numbers(invariants(V))
    return max(float((numbers(invariants(moved(V, rng))) - found).abs().max() / found.abs().max()) for _ in range(4))


def numbers(found: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.cat([each.flatten() for each in found])


# --- symmetric matrices ---


def test_check_values():
    X = torch.tensor([[1, 2, 3], [2, 4, 5], [3, 5, 6]], dtype=torch.float64)
    found = matrix_invariants(X)
    assert [each.tolist() for each in found] == [[1, 4, 6], [2, 3, 5], [81]]
    assert len(numbers(matrix_invariants(torch.eye(7)))) == 7 + 21 + 1


def test_conjugation_by_permutations_changes_nothing_and_other_shuffles_do(rng):
    X = symmetric(5, rng)
    found = numbers(matrix_invariants(X))
    for _ in range(4):
        perm = torch.randperm(5, generator=rng)
        torch.testing.assert_close(numbers(matrix_invariants(X[perm][:, perm])), found, **DOUBLE)
    # The two sets do not see an exchange of X_01 with X_23; the mixed sum does.
    lying = X.clone()
    lying[0, 1] = lying[1, 0] = X[2, 3]
    lying[2, 3] = lying[3, 2] = X[0, 1]
    other = matrix_invariants(lying)
    torch.testing.assert_close(numbers(other[:2]), found[:-1], **DOUBLE)
    assert float((other.mixed - found[-1]).abs()) > 1e-6


def test_all_arrangements_beside_a_fixed_diagonal_have_other_sums():
    upper = torch.tensor([2.0, 3.0, 5.0, 7.0, 11.0, 13.0], dtype=torch.float64).sqrt()
    orders = torch.tensor(list(itertools.permutations(range(6))))
    X = torch.zeros(len(orders), 4, 4, dtype=torch.float64)
    rows, columns = torch.triu_indices(4, 4, 1)
    X[:, rows, columns] = X[:, columns, rows] = upper[orders]
    diagonal = torch.tensor([0.1, 1.3, 2.9, 7.7], dtype=torch.float64)
    sums = matrix_invariants(X + diagonal.diag()).mixed[:, 0].sort().values
    assert len(sums) == 720 and float(sums.diff().min()) > 1e-9
    # Where diagonal entries repeat, arrangements that exchange their rows have one sum, and not these alone.
    repeated = matrix_invariants(X + torch.tensor([1.0, 1.0, 2.0, 2.0], dtype=torch.float64).diag()).mixed[:, 0].sort().values
    assert int((repeated.diff() > 1e-9).sum()) + 1 < 720 / 4


def adjacency(graph) -> torch.Tensor:
    A = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    A[tuple(graph.edge_index)] = 1.0
    return A


def test_graphs_with_as_many_edges_look_alike_until_degrees_stand_on_the_diagonal():
    one, other = (adjacency(graph) for graph in pairs()["P4 and K1,3"])
    assert matrix_invariants(one).mixed == 0
    assert torch.equal(numbers(matrix_invariants(one)), numbers(matrix_invariants(other)))
    with_degrees = [matrix_invariants(A + A.sum(0).diag()) for A in (one, other)]
    assert [each.diagonal.tolist() for each in with_degrees] == [[1, 1, 2, 2], [1, 1, 1, 3]]
    # A constant diagonal is no better than none: the sum is then known from the others.
    constant = [matrix_invariants(A + torch.eye(4, dtype=torch.float64)) for A in (one, other)]
    assert torch.equal(numbers(constant[0]), numbers(constant[1]))


def test_the_diagonal_is_not_among_the_other_entries(rng):
    X = symmetric(5, rng)
    found, shifted = matrix_invariants(X), matrix_invariants(X + torch.arange(5.0).diag())
    assert found.off_diagonal.shape == (10,)
    assert torch.equal(found.off_diagonal, shifted.off_diagonal)
    assert not torch.allclose(found.diagonal, shifted.diagonal)


def test_matrices_that_are_none():
    with pytest.raises(ShapeError, match=r"expected symmetric X of finite entries, got \|X - X\^T\| up to 1 of 1;"):
        matrix_invariants(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    with pytest.raises(ShapeError, match=r"got \(2, 3\) of torch\.float32"):
        matrix_invariants(torch.zeros(2, 3))
    with pytest.raises(ShapeError, match=r"torch\.int64"):
        matrix_invariants(torch.eye(2, dtype=torch.long))
    near = torch.tensor([[1e6, 1.0], [1.5, 0.0]])  # relative to the largest entry
    assert matrix_invariants(near).off_diagonal == 1.25
    batch = torch.stack([1e9 * torch.eye(2), torch.tensor([[0.0, 1.0], [0.0, 0.0]])])
    with pytest.raises(ShapeError, match="up to 1 of 1 in matrix 1"):
        matrix_invariants(batch)
    for value in (torch.nan, torch.inf):
        for i, j in [(0, 0), (0, 1)]:
            broken = torch.eye(2)
            broken[i, j] = broken[j, i] = value
            with pytest.raises(ShapeError, match="finite entries"):
                matrix_invariants(torch.stack([torch.eye(2), broken]))


def test_what_is_admitted_is_invariant(rng):
    X = symmetric(5, rng)
    near = X + 1e-7 * torch.randn(5, 5, dtype=torch.float64, generator=rng)
    swapped = near[[4, 3, 2, 1, 0]][:, [4, 3, 2, 1, 0]]
    torch.testing.assert_close(numbers(matrix_invariants(swapped)), numbers(matrix_invariants(near)), rtol=1e-13, atol=1e-13)
    assert not torch.equal(near, near.mT)


def test_a_large_diagonal_does_not_drown_the_sum(rng):
    assert matrix_invariants(torch.tensor([[1e5, 1e-3], [1e-3, 1e5]])).mixed.item() == pytest.approx(200.0, rel=1e-6)
    X = symmetric(6, rng).abs().float()
    X = X + torch.diag(torch.linspace(1e6, 2e6, 6))
    torch.testing.assert_close(matrix_invariants(X).mixed.double(), matrix_invariants(X.double()).mixed, rtol=1e-5, atol=0.0)


# --- clouds ---


@pytest.mark.parametrize("mode", ["gram", "kmeans", "generators"])
@pytest.mark.parametrize(("n", "d"), [(5, 2), (7, 3)])
def test_rotations_and_orders_change_nothing(mode, n, d, rng):
    V = torch.randn(n, d, dtype=torch.float64, generator=rng)
    found = numbers(cloud_invariants(V, mode))
    assert change(lambda V: cloud_invariants(V, mode), V, rng) < 1e-10
    assert len(found) == {"gram": n + n * (n - 1) // 2 + 1, "kmeans": n * d + d * d, "generators": n * (d + 1)}[mode]
    sheared = V @ (torch.eye(d, dtype=torch.float64) + 0.3 * torch.diag(torch.ones(d - 1, dtype=torch.float64), 1)).mT
    assert float((numbers(cloud_invariants(sheared, mode)) - found).abs().max()) > 1e-3


def test_batches_are_clouds_one_by_one(rng):
    V = torch.randn(2, 3, 8, 2, dtype=torch.float64, generator=rng)
    for mode in ("gram", "kmeans", "generators"):
        together = cloud_invariants(V, mode)
        alone = cloud_invariants(V[1, 2], mode)
        for each, one in zip(together, alone, strict=True):
            torch.testing.assert_close(each[1, 2], one, **DOUBLE)


def test_products_with_centroids_determine_the_cloud(rng):
    V = torch.randn(9, 3, dtype=torch.float64, generator=rng)
    gram, rows = cloud_invariants(V, "kmeans")
    rebuilt = gram_from_anchors(rows, gram)
    for one, other in zip(matrix_invariants(rebuilt), cloud_invariants(V), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_a_start_by_index_would_see_the_order(monkeypatch):
    """The liars: k-means from the first points of the list, and rows that are not ordered."""
    V = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def law() -> float:
        return change(lambda V: cloud_invariants(V, "kmeans"), V, torch.Generator().manual_seed(1))

    assert law() < 1e-10
    with monkeypatch.context() as patch:
        patch.setattr("gnet.plugins.scalars.anchors._farthest", lambda clouds, k: clouds[:, :k])
        assert law() > 1e-3
    with monkeypatch.context() as patch:
        patch.setattr("gnet.plugins.point_clouds.invariants._lexicographic", lambda rows: rows)
        assert law() > 1e-3
    assert law() < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_of_a_sphere_have_no_start(dtype, rng):
    V = torch.nn.functional.normalize(torch.randn(4, 12, 3, dtype=dtype, generator=rng), dim=-1)
    with pytest.raises(DegenerateInputError, match="one point to start a cluster from, got two that are longest"):
        cloud_invariants(V, "kmeans")
    centred = torch.randn(4, 12, 3, dtype=dtype, generator=rng)
    centred[2] = V[2]  # one of a batch
    with pytest.raises(DegenerateInputError, match="longest"):
        cloud_invariants(centred, "kmeans")
    assert cloud_invariants(V, "kmeans", 1).rows.shape == (4, 12, 1)  # one cluster needs no start
    other = V.double() * torch.linspace(0.5, 1.0, 12, dtype=torch.float64)[:, None]
    assert cloud_invariants(other, "kmeans").rows.shape == (4, 12, 3)


def test_two_farthest_points_are_no_start():
    V = torch.tensor([[3.0, 0.0], [-1.0, 2.0], [-1.0, -2.0], [0.5, 0.3], [0.1, 0.4]], dtype=torch.float64)
    with pytest.raises(DegenerateInputError, match="two that are farthest from the starts before"):
        cloud_invariants(V, "kmeans")
    # The longest point may stand in the cloud twice: both are one start.
    V[1] = V[0]
    found = numbers(cloud_invariants(V, "kmeans"))
    torch.testing.assert_close(numbers(cloud_invariants(V.flip(0), "kmeans")), found, **DOUBLE)


def test_rows_that_tie_are_ordered_by_the_next_column():
    from gnet.plugins.point_clouds.invariants import _lexicographic

    rows = torch.tensor([[1.0, 3.0], [0.0, 5.0], [1.0, 2.0], [0.0, 4.0]])
    for perm in itertools.permutations(range(4)):
        assert _lexicographic(rows[list(perm)]).tolist() == [[0, 4], [0, 5], [1, 2], [1, 3]]


@pytest.mark.parametrize("mode", ["gram", "kmeans", "generators"])
def test_gradients_pass(mode):
    V = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    V = V / V.norm(dim=1).max()  # or powers of lengths drown the differences
    assert torch.autograd.gradcheck(lambda V: numbers(cloud_invariants(V, mode)), V.requires_grad_())


def test_clouds_that_have_no_invariants():
    V = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    with pytest.raises(ShapeError, match="at least 4 points"):
        cloud_invariants(V, "kmeans", k=4)
    with pytest.raises(ShapeError, match="k >= 1"):
        cloud_invariants(V, "kmeans", k=0)
    with pytest.raises(DegenerateInputError, match="two that are the same"):
        cloud_invariants(torch.ones(4, 2), "kmeans")
    with pytest.raises(DegenerateInputError, match="two that are equally long"):
        cloud_invariants(torch.tensor([[4.0, 0.0], [2.0, 0.0], [-3.5, 0.0], [-2.5, 0.0]]), "kmeans")
    with pytest.raises(ConfigError, match="expected mode 'gram', 'kmeans' or 'generators', got 'pca'"):
        cloud_invariants(V, "pca")
    with pytest.raises(ConfigError, match="mode='gram' has no centroids"):
        cloud_invariants(V, k=2)
    with pytest.raises(ShapeError, match="expected vectors"):
        cloud_invariants(torch.ones(3))
