"""Models of the invariants: exactly invariant, equal to plain references, and the liars that are not."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import GAT, GCN, GIN, DeepSetsAggregation, GATConv, GCNConv, GraphConv, GraphSAGE, LEConv

from gnet import SymmetricGroup, equivariance_error
from gnet.errors import ConfigError, NonFiniteError, ShapeError
from gnet.groups import TRIVIAL_ACTION, Action
from gnet.plugins.point_clouds import (
    CloudDeepSet,
    ConjInvariantDeepSet,
    DeepSet,
    GramGNN,
    cloud_invariants,
    gram_gnn,
    gram_graph,
    matrix_invariants,
)
from gnet.plugins.point_clouds.invariants import ordered_centroids
from gnet.plugins.point_clouds.sets import FeatureScale, ScalarExpansion
from gnet.plugins.tensors import O as Orthogonal

CONJUGATION = Action("conjugation", lambda g, X: X[..., g.argsort(), :][..., g.argsort()])


def seeded(rng: torch.Generator, make, *args, **options) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(10**6, (), generator=rng)))
        return make(*args, **options).double()


def symmetric(num: int, n: int, rng: torch.Generator) -> torch.Tensor:
    X = torch.randn(num, n, n, dtype=torch.float64, generator=rng)
    return X + X.mT


# --- sets ---


@pytest.mark.parametrize("aggr", ["mean", "sum"])
def test_a_deep_set_is_the_one_of_pyg(aggr, rng):
    """PyG's sums; with the mean it is PyG's on a sum divided by the size."""
    ours = seeded(rng, DeepSet, 3, 5, aggr)
    x = torch.randn(7, 3, dtype=torch.float64, generator=rng)
    index = torch.tensor([0, 1, 1, 0, 2, 1, 0])
    sizes = index.bincount()[:, None]
    if aggr == "sum":
        theirs = DeepSetsAggregation(ours.local_nn, ours.global_nn)(x, index)
    else:
        theirs = ours.global_nn(DeepSetsAggregation(ours.local_nn)(x, index) / sizes)
    torch.testing.assert_close(ours(x, index, 3), theirs)
    for number in range(3):
        torch.testing.assert_close(ours(x[index == number]), theirs[number])


def test_pyg_sums_whatever_the_size(rng):
    """Why there is a set network of our own: twice the same set has another sum, and the same mean."""
    ours = seeded(rng, DeepSet, 1, 4)
    x = torch.randn(6, 1, dtype=torch.float64, generator=rng)
    twice, once = torch.cat([x, x]), torch.zeros(12, dtype=torch.long)
    torch.testing.assert_close(ours(twice), ours(x))
    pyg = DeepSetsAggregation(ours.local_nn, ours.global_nn)
    assert bool(((pyg(twice, once) - pyg(x, once[:6])).abs() > 1e-6).any())


def test_expansion_and_scale():
    found = ScalarExpansion(0.5)(torch.tensor([[1.0]]))
    assert found.shape == (1, 99)
    torch.testing.assert_close(found[0, [0, 49, 51, 98]], torch.sigmoid(torch.tensor([51.0, 2.0, 0.0, -47.0])))
    assert float(ScalarExpansion(0.5)(torch.tensor([[300.0], [400.0]])).diff(dim=0).abs().max()) < 1e-6  # beyond 49 theta
    with pytest.raises(ShapeError, match=r"numbers \(\.\.\., 1\), got \(3, 99\)"):
        ScalarExpansion(0.1)(torch.ones(3, 99))
    scale = FeatureScale(2).fit(torch.tensor([[[1.0, 5.0], [3.0, 5.0]]]))
    assert scale(torch.tensor([[3.0, 6.0]])).tolist() == [[1.0, 1.0]]  # the second did not vary
    with pytest.raises(ShapeError, match=r"expected data \(\.\.\., 2\), got \(4, 3\)"):
        scale.fit(torch.zeros(4, 3))
    with pytest.raises(ShapeError, match=r"expected data \(\.\.\., 2\), got \(4, 1\)"):
        scale(torch.zeros(4, 1))
    with pytest.raises(ConfigError, match="theta > 0"):
        ScalarExpansion(0.0)
    with pytest.raises(ConfigError, match="aggr 'mean' or 'sum'"):
        DeepSet(1, 4, "max")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_channel_that_varies_by_rounding_is_constant(dtype):
    eps = torch.finfo(dtype).eps
    x = torch.full((1000, 1), 0.1, dtype=dtype)
    noisy = 0.1 * (1 + eps * torch.tensor([[1.0], [-2.0]], dtype=dtype))
    for data in (x, torch.cat([x, noisy]), 1e6 * x):
        scale = FeatureScale(1).to(dtype).fit(data)
        assert scale.deviation.item() == 1.0 and float(scale(data).abs().max()) < 1e-5 * float(data.max())
    varied = x + 1e-4 * torch.linspace(-1, 1, 1000, dtype=dtype)[:, None]
    assert FeatureScale(1).to(dtype).fit(varied).deviation.item() == pytest.approx(1e-4 / 3**0.5, rel=1e-2)
    mixed = FeatureScale(1).fit(1e4 + 1e-6 * torch.rand(50, 1, dtype=torch.float64))  # the mean is kept in float32
    assert mixed.deviation.item() == 1.0


# --- symmetric matrices ---


@pytest.mark.parametrize("expansion", [None, 0.3])
@pytest.mark.parametrize("aggr", ["mean", "sum"])
def test_matrices_under_permutations(expansion, aggr, rng):
    X = symmetric(4, 5, rng)
    f = seeded(rng, ConjInvariantDeepSet, 6, 3, aggr, expansion).fit_scales(X)
    error = equivariance_error(f, X, SymmetricGroup(5), action_in=CONJUGATION, action_out=TRIVIAL_ACTION, generator=rng)
    assert error.relative < 1e-12
    assert bool((f(X).std(0) > 1e-9).all())
    torch.testing.assert_close(f.of_invariants(matrix_invariants(X)), f(X))
    f(X).square().sum().backward()
    assert all(p.grad is not None for p in f.parameters())


def test_a_row_that_is_named_breaks_it(rng):
    """The liar: the first row is read apart."""
    X = symmetric(4, 5, rng)
    f = seeded(rng, ConjInvariantDeepSet, 6, 3)
    error = equivariance_error(
        lambda X: f(X) + X[:, 0, :3], X, SymmetricGroup(5), action_in=CONJUGATION, action_out=TRIVIAL_ACTION, generator=rng
    )
    assert error.relative > 0.1


def test_without_the_mixed_sum_shuffles_are_not_seen(rng):
    X = symmetric(1, 4, rng)[0]
    lying = X.clone()
    lying[0, 1] = lying[1, 0] = X[2, 3]
    lying[2, 3] = lying[3, 2] = X[0, 1]
    blind, seeing = (seeded(rng, ConjInvariantDeepSet, 6, 3, mixed=mixed) for mixed in (False, True))
    torch.testing.assert_close(blind(X), blind(lying))
    assert bool(((seeing(X) - seeing(lying)).abs() > 1e-9).any())


def test_matrices_of_different_sizes(rng):
    matrices = [symmetric(1, n, rng)[0] for n in (3, 2, 5, 1)]
    f = seeded(rng, ConjInvariantDeepSet, 6, 2).fit_scales(matrices)
    together = f(matrices)
    for X, found in zip(matrices, together, strict=True):
        torch.testing.assert_close(f(X), found)
    assert together.shape == (4, 2) and bool(together.isfinite().all())
    entries = torch.cat([torch.diagonal(X) for X in matrices])
    torch.testing.assert_close(f.scales[0].mean, entries.mean()[None], check_dtype=False)
    single = seeded(rng, ConjInvariantDeepSet, 6, 2).fit_scales(matrices[3][None])  # without entries beside the diagonal
    assert (single.scales[1].mean.item(), single.scales[1].deviation.item()) == (0.0, 1.0)
    assert bool(single(matrices[3][None]).isfinite().all())
    with pytest.raises(ShapeError, match="at least one matrix"):
        f([])
    with pytest.raises(ConfigError, match="out_channels >= 1"):
        ConjInvariantDeepSet(4, 0)


# --- clouds ---


@pytest.mark.parametrize("make", [lambda: CloudDeepSet(6, 4, k=2), lambda: GramGNN(6, 4)], ids=["centroids", "graph"])
def test_clouds_under_rotations_and_orders(make, rng):
    V = torch.randn(3, 9, 3, dtype=torch.float64, generator=rng)
    f = seeded(rng, make).fit_scales(V)
    assert equivariance_error(f, V, Orthogonal(3), action_out=TRIVIAL_ACTION, generator=rng, num_samples=8).relative < 1e-10
    perm = [3, 5, 0, 8, 1, 2, 7, 4, 6]

    def change(f) -> float:
        return float((f(V[:, perm]) - f(V)).detach().abs().max())

    assert change(f) < 1e-9
    torch.testing.assert_close(f(V[None])[0, 1], f(V[1]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(f.of_invariants(f.invariants(V)), f(V))
    # The liar sees a coordinate.
    assert (
        equivariance_error(
            lambda V: f(V) + V[:, 0, :1], V, Orthogonal(3), action_out=TRIVIAL_ACTION, generator=rng, num_samples=8
        ).relative
        > 0.01
    )

    # This one reads the length of the first point: rotations do not change it, orders do.
    def first(V: torch.Tensor) -> torch.Tensor:
        return f(V) + V[:, 0].square().sum(-1, keepdim=True)

    assert equivariance_error(first, V, Orthogonal(3), action_out=TRIVIAL_ACTION, generator=rng).relative < 1e-10
    assert change(first) > 1e-3
    assert bool(((f(V + V[:, :1]) - f(V)).abs() > 1e-6).any())  # shifts are seen


def test_scales_are_those_of_the_clouds(rng):
    V = 5 * torch.randn(20, 9, 3, dtype=torch.float64, generator=rng)
    f = seeded(rng, CloudDeepSet, 6, 4).fit_scales(V)
    gram, rows = cloud_invariants(V, "kmeans")
    for scale, values in zip(f.scales, (gram.flatten(-2), rows), strict=True):
        scaled = scale(values).reshape(-1, values.shape[-1])
        assert float(scaled.mean(0).abs().max()) < 1e-6 and float((scaled.std(0, correction=0) - 1).abs().max()) < 1e-6
    with pytest.raises(ShapeError, match="invariants of k=3 centroids, got 2"):
        f.of_invariants(cloud_invariants(V, "kmeans", 2))
    with pytest.raises(ConfigError, match="out_channels and k >= 1"):
        CloudDeepSet(4, 2, k=0)


@pytest.mark.parametrize("make", [lambda: CloudDeepSet(6, 4), lambda: GramGNN(6, 4)], ids=["centroids", "graph"])
def test_no_clouds_have_no_outputs(make):
    assert make()(torch.ones(0, 5, 3)).shape == (0, 4)
    assert make()(torch.ones(2, 0, 5, 3)).shape == (2, 0, 4)
    assert ConjInvariantDeepSet(6, 4)(torch.ones(0, 5, 5)).shape == (0, 4)
    with pytest.raises(ShapeError, match=r"at least one cloud of at least one point, got \(0, 5, 3\)"):
        gram_graph(torch.ones(0, 5, 3))


# --- graphs ---


def test_the_graph_has_products_on_its_edges(rng):
    V = torch.randn(2, 5, 3, dtype=torch.float64, generator=rng)
    graph = gram_graph(V)
    assert (graph.num_graphs, graph.num_nodes, graph.num_edges) == (2, 10, 40)
    torch.testing.assert_close(graph.x[:, 0], V.square().sum(-1).flatten())
    points = V.reshape(10, 3)
    sources, targets = graph.edge_index
    torch.testing.assert_close(graph.edge_weight, (points[sources] * points[targets]).sum(-1))
    assert bool((sources != targets).all()) and torch.equal(graph.batch[sources], graph.batch[targets])
    with pytest.raises(ShapeError, match=r"\(n, d\) or \(B, n, d\)"):
        gram_graph(V[None])


def test_any_graph_model_becomes_invariant(rng):
    V = torch.randn(3, 6, 3, dtype=torch.float64, generator=rng)
    conv = seeded(rng, GraphConv, 1, 4)
    for readout in ("mean", "sum"):
        found = gram_gnn(V, conv, readout)
        assert (
            equivariance_error(lambda V, r=readout: gram_gnn(V, conv, r), V, Orthogonal(3), action_out=TRIVIAL_ACTION).relative
            < 1e-12
        )
        torch.testing.assert_close(gram_gnn(V[:, [5, 3, 1, 0, 2, 4]], conv, readout), found)
        torch.testing.assert_close(gram_gnn(V[1], conv, readout), found[1])
    per_point = gram_gnn(V, conv, None)
    assert per_point.shape == (3, 6, 4)
    torch.testing.assert_close(gram_gnn(V.flip(1), conv, None), per_point.flip(1))
    # The liars: coordinates as signals, and a readout that takes the first point.
    order = [5, 3, 1, 0, 2, 4]

    def by_coordinate(V: torch.Tensor) -> torch.Tensor:
        return gram_gnn(V, lambda x, edge_index, edge_weight: conv(V.reshape(-1, 3)[:, :1], edge_index, edge_weight))

    assert equivariance_error(by_coordinate, V, Orthogonal(3), action_out=TRIVIAL_ACTION, generator=rng).relative > 1e-3
    torch.testing.assert_close(by_coordinate(V[:, order]), by_coordinate(V))
    first = [gram_gnn(each, conv, None)[:, 0] for each in (V, V[:, order])]
    assert float((first[0] - first[1]).abs().max()) > 1e-6
    opposite = torch.tensor([[2.0, 0.0], [-2.0, 0.0]], dtype=torch.float64)  # degrees of -3, as the docstring warns
    with pytest.raises(NonFiniteError, match="divides by degrees"):
        gram_gnn(opposite, seeded(rng, GCNConv, 1, 4))
    assert gram_gnn(opposite, seeded(rng, GCNConv, 1, 4, normalize=False)).shape == (4,)
    with pytest.raises(ConfigError, match="expected readout"):
        gram_gnn(V, conv, "max")
    with pytest.raises(ShapeError, match="one output for each of 18 points"):
        gram_gnn(V, lambda x, edge_index, edge_weight: x[:3])


PLAIN = {"normalize": False}
FITTING = {
    "GraphConv": (GraphConv, {}),
    "LEConv": (LEConv, {}),
    "GCNConv": (GCNConv, PLAIN),
    "GCN": (GCN, {"num_layers": 2} | PLAIN),
}


def with_other_directions(V: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Points of the same lengths, and with other products."""
    return nn.functional.normalize(torch.randn(V.shape, dtype=V.dtype, generator=rng), dim=-1) * V.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("name", FITTING)
def test_models_that_fit_see_products(name, rng):
    make, options = FITTING[name]
    V = torch.randn(6, 3, dtype=torch.float64, generator=rng)
    net = seeded(rng, make, 1, 4, **options)
    assert float((gram_gnn(V, net) - gram_gnn(with_other_directions(V, rng), net)).abs().max()) > 1e-6


@pytest.mark.parametrize("model", [GIN(1, 4, 2), GAT(1, 4, 2), GraphSAGE(1, 4, 2), GATConv(1, 4), lambda x, edge_index: x])
def test_models_that_do_not_are_refused(model, rng):
    V = torch.randn(6, 3, generator=rng)
    with pytest.raises(ConfigError, match="a model that uses edge_weight"):
        gram_gnn(V, model)
    graphs = [gram_graph(each) for each in (V, with_other_directions(V, rng))]  # they would see lengths alone: the liars
    found = [model(each.x, each.edge_index) for each in graphs]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_centroids_in_half_precision(dtype, rng):
    V = torch.randn(3, 12, 3, generator=rng)
    net = seeded(rng, CloudDeepSet, 8, 4).float()
    expected = net(V.to(dtype).float())
    found = net.to(dtype)(V.to(dtype))
    assert found.dtype == dtype and float((found.float() - expected).abs().max()) < 0.05 * float(expected.abs().max())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ordered_centroids(V, 3), ordered_centroids_outside(V))


def ordered_centroids_outside(V: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return ordered_centroids(V, 3)


def test_the_dense_net_is_the_sparse_one(rng):
    V = torch.randn(3, 6, 2, dtype=torch.float64, generator=rng)
    dense = seeded(rng, GramGNN, 5, 4, 3)
    sparse = [GraphConv(layer.in_channels, layer.out_channels).double() for layer in dense.layers]
    for one, other in zip(sparse, dense.layers, strict=True):
        one.load_state_dict(other.state_dict())

    def model(x, edge_index, edge_weight):
        for layer in sparse:
            x = nn.functional.silu(layer(x, edge_index, edge_weight / 6))
        return x

    torch.testing.assert_close(dense(V), dense.readout(gram_gnn(V, model)))
    with pytest.raises(ConfigError, match="channels and layers >= 1"):
        GramGNN(4, 2, 0)
