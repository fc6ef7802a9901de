"""A cloud as a complete graph whose edge weights are inner products: what any graph model makes of it is invariant."""

import inspect
from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import DenseGraphConv

from gnet.errors import ConfigError, NonFiniteError, ShapeError
from gnet.plugins.point_clouds.sets import FeatureScale, silu_mlp
from gnet.plugins.scalars import products
from gnet.plugins.scalars.products import check_vectors

Readout = Literal["mean", "sum"]


def gram_graph(V: Tensor) -> Data:
    """The complete graph on the points of a cloud, of several clouds PyG's batch of such graphs.

    Squared lengths are the signal ``x`` (n, 1) at the nodes, inner products the ``edge_weight`` of an edge, which may be
    negative. Rotations change nothing, permutations of the points number the nodes otherwise.

    Shapes:
        V: (n, d) or (B, n, d)

    Raises:
        ShapeError: other shapes, no real floating numbers, or nothing: no cloud, or no point.

    Example:
        >>> graph = gram_graph(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        >>> graph.edge_index.tolist(), graph.edge_weight.tolist(), graph.x.tolist()
        ([[0, 1], [1, 0]], [1.0, 1.0], [[1.0], [2.0]])
    """
    V = check_vectors(V, "O")
    if V.ndim > 3:
        raise ShapeError(f"expected clouds V (n, d) or (B, n, d), got {tuple(V.shape)}; flatten the batch axes")
    if not prod(V.shape[:-1]):
        raise ShapeError(f"expected at least one cloud of at least one point, got {tuple(V.shape)}")
    if V.ndim == 3:
        return Batch.from_data_list([gram_graph(each) for each in V])
    gram, n = products(V), V.shape[0]
    rows, columns = (~torch.eye(n, dtype=torch.bool, device=V.device)).nonzero(as_tuple=True)
    return Data(
        x=torch.diagonal(gram)[:, None], edge_index=torch.stack([rows, columns]), edge_weight=gram[rows, columns], num_nodes=n
    )


def gram_gnn(V: Tensor, model: Callable[..., Tensor], readout: Readout | None = "mean") -> Tensor:
    """Outputs of a graph model, ``model(x, edge_index, edge_weight=...)``, on the complete graphs of clouds.

    With a readout they are invariant under O(d) and permutations of the points; without, permutations move them. The model has to
    use the weights, which are all that it sees of directions: ``GraphConv``, ``LEConv``, ``GatedGraphConv``, ``GCNConv`` and
    ``TAGConv`` with ``normalize=False`` do; ``GIN``, ``GAT`` and ``GraphSAGE`` do not. What normalises by degrees, such as
    ``GCNConv`` by itself, does not take negative weights. No model is taken by default: its
    weights would be others at every call. ``GramGNN`` is a model with weights of its own.

    Args:
        model: such as a PyG convolution. gnet's own nets have their graph from construction on, and are none.
        readout: over the points; None keeps one output for each.

    Shapes:
        V: (n, d) or (B, n, d)    returns: (C,) or (B, C), without readout (n, C) or (B, n, C)

    Raises:
        ShapeError: other clouds, or a model without one output for each point.
        ConfigError: another readout, or a model that does not use edge weights.
        NonFiniteError: outputs that are NaN or infinite.

    References:
        Blum-Smith, Huang, Cuturi and Villar (2024), arXiv:2405.08097, on graph networks on Gram matrices.

    Example:
        >>> from torch_geometric.nn import GraphConv
        >>> gram_gnn(torch.randn(5, 10, 3), GraphConv(1, 4)).shape
        torch.Size([5, 4])
    """
    if readout not in ("mean", "sum", None):
        raise ConfigError(f"expected readout 'mean', 'sum' or None, got {readout!r}")
    _check_weights_are_used(model)
    graph = gram_graph(V)
    found = model(graph.x, graph.edge_index, edge_weight=graph.edge_weight)
    if found.ndim != 2 or found.shape[0] != graph.num_nodes:
        raise ShapeError(f"expected a model with one output for each of {graph.num_nodes} points, got {tuple(found.shape)}")
    if not bool(torch.isfinite(found.detach()).all()):
        raise NonFiniteError(
            "expected finite outputs, got NaN or infinity: of points that are not finite, or of a model that divides by degrees, "
            "which products can make negative; take normalize=False, or GraphConv"
        )
    per_point = found.reshape(*V.shape[:-1], -1)
    if readout is None:
        return per_point
    return per_point.mean(-2) if readout == "mean" else per_point.sum(-2)


def _check_weights_are_used(model: Callable[..., Tensor]) -> None:
    """Refuse models that would see the lengths of points alone."""
    takes = inspect.signature(model.forward if isinstance(model, nn.Module) else model).parameters
    is_open = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in takes.values())
    # PyG's models accept weights that they then leave out.
    if not getattr(model, "supports_edge_weight", True) or not (is_open or "edge_weight" in takes):
        raise ConfigError(
            f"expected a model that uses edge_weight, as products are edge weights, got {type(model).__name__}; take GraphConv, "
            "GatedGraphConv, or GCN with normalize=False"
        )


class GramGNN(nn.Module):
    """PyG's graph convolutions on the complete graph of a cloud, the mean over its points, and a perceptron.

    A layer is h_i <- act(W h_i + W' sum over j != i of <v_i, v_j> h_j / n), from the squared lengths on; the sum has no edge
    list, only a product with the Gram matrix.

    Args:
        hidden_channels: of the layers.
        out_channels: of the outputs.
        num_layers: convolutions.

    Shapes:
        V: (..., n, d)    returns: (..., out_channels)

    Raises:
        ConfigError: numbers below one.
        ShapeError: no cloud.

    References:
        Morris et al. (2019), arXiv:1810.02244, for the convolution.

    Example:
        >>> GramGNN(16, 8)(torch.randn(5, 10, 3)).shape
        torch.Size([5, 8])
    """

    def __init__(self, hidden_channels: int, out_channels: int, num_layers: int = 2) -> None:
        super().__init__()
        if min(hidden_channels, out_channels, num_layers) < 1:
            raise ConfigError(f"expected channels and layers >= 1, got {hidden_channels}, {out_channels} and {num_layers}")
        widths = [1, *[hidden_channels] * num_layers]
        self.scale = FeatureScale(1)
        self.layers = nn.ModuleList([DenseGraphConv(a, b, aggr="add") for a, b in pairwise(widths)])
        self.readout = silu_mlp(hidden_channels, hidden_channels, out_channels)

    def invariants(self, V: Tensor) -> Tensor:
        """What the net sees of clouds, (..., n, n): their Gram matrices."""
        return products(V)

    def fit_scales(self, V: Tensor) -> "GramGNN":
        """Standardise squared lengths by these clouds from now on."""
        self.scale.fit(torch.diagonal(products(V), dim1=-2, dim2=-1)[..., None])
        return self

    def forward(self, V: Tensor) -> Tensor:
        """Outputs of clouds."""
        return self.of_invariants(self.invariants(V))

    def of_invariants(self, gram: Tensor) -> Tensor:
        """Outputs from Gram matrices (..., n, n)."""
        n = gram.shape[-1]
        flat = gram.reshape(prod(gram.shape[:-2]), n, n)
        squares = torch.diagonal(flat, dim1=-2, dim2=-1)
        h, weights = self.scale(squares[..., None]), (flat - torch.diag_embed(squares)) / n
        for layer in self.layers:
            h = nn.functional.silu(layer(h, weights))
        found = self.readout(h.mean(-2))
        return found.reshape(*gram.shape[:-2], found.shape[-1])
