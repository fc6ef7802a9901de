"""One stage of a net: linear map, propagation on the graph, normalisation, nonlinearity, dropout."""

from collections.abc import Callable, Iterable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from gnet.errors import ConfigError, ShapeError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": F.tanh,
    "sigmoid": F.sigmoid,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
}
"""Pointwise functions: these commute with every permutation of nodes."""

Norm = Literal["batch", "layer"]


class NodeBatchNorm(nn.Module):
    """Batch normalisation of channels with statistics over batch *and* nodes, which keeps every node symmetry.

    Shapes:
        x: (*, N, C)    returns: (*, N, C)

    Raises:
        ShapeError: one signal of one node in training, which has no variance.

    Example:
        >>> NodeBatchNorm(2)(torch.randn(4, 3, 2)).mean(dim=(0, 1)).abs().max() < 1e-6
        tensor(True)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        rows = x.reshape(-1, x.shape[-1])
        if self.training and len(rows) == 1:
            raise ShapeError(
                f"norm='batch' needs more than one value of each channel in training, got x of shape {tuple(x.shape)}: one node "
                "in one signal; give larger batches (drop the last one), or take norm='layer'"
            )
        return self.norm(rows).reshape(x.shape)


def make_norm(norm: Norm | None, channels: int) -> nn.Module | None:
    """The normalisation of that name; each keeps the node symmetry (a per-node affine one would not).

    Raises:
        ConfigError: an unknown name.
    """
    if norm is None:
        return None
    if norm == "batch":
        return NodeBatchNorm(channels)
    if norm == "layer":
        return nn.LayerNorm(channels)
    raise ConfigError(f"expected norm 'batch', 'layer' or None, got {norm!r}")


def check_activation(act: str | None) -> str | None:
    """The name itself, if it is one of ``ACTIVATIONS`` or None.

    Raises:
        ConfigError: an unknown name.
    """
    if act is not None and act not in ACTIVATIONS:
        raise ConfigError(f"expected act in {sorted(ACTIVATIONS)} or None, got {act!r}")
    return act


def gain_before(act: str | None) -> float:
    """The variance a layer should start with so that its activation passes on a second moment of about one.

    Example:
        >>> gain_before("relu"), gain_before("tanh")
        (2.0, 1.0)
    """
    return 2.0 if act in ("relu", "leaky_relu", "gelu", "silu") else 1.0


def check_dropout(dropout: float) -> None:
    """Refuse a probability outside [0, 1).

    Raises:
        ConfigError: it is.
    """
    if not 0.0 <= dropout < 1.0:
        raise ConfigError(f"expected dropout in [0, 1), got {dropout}")


class Residual(nn.Module):
    """``x + f(x)`` for several blocks f in a row.

    Example:
        >>> Residual([Block(EquivariantLinear(SymmetricGroup(3), 2, 2)) for _ in range(2)])(torch.ones(3, 2)).shape
        torch.Size([3, 2])
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks and add."""
        return x + self.blocks(x)


def with_skips(blocks: list[nn.Module], span: int, skip_first: bool) -> list[nn.Module]:
    """The blocks with a residual connection around each ``span`` of them; 0 is none.

    ``skip_first`` leaves out the first block, whose channels differ.

    Raises:
        ConfigError: the number of blocks is no multiple of ``span``.
    """
    if span == 0:
        return blocks
    start = blocks[:1] if skip_first else []
    rest = blocks[len(start) :]
    if span < 0 or len(rest) % span:
        raise ConfigError(f"expected residual to divide the {len(rest)} hidden layers of equal width, got {span}")
    if span == 1:
        for block in rest:
            block.residual = True  # type: ignore[assignment]
        return blocks
    return start + [Residual(rest[at : at + span]) for at in range(0, len(rest), span)]


class Block(nn.Module):
    """``dropout(act(norm(propagate(linear(x)))))``, every part but the linear one optional.

    ``linear`` and ``propagate`` are any modules (*, N, C) -> (*, N, C'). With ``residual`` the input is added to the output.

    Raises:
        ConfigError: an unknown activation, or dropout outside [0, 1).

    Example:
        >>> Block(EquivariantLinear(SymmetricGroup(3), 1, 4), act="relu")(torch.randn(2, 3, 1)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(
        self,
        linear: nn.Module,
        propagate: nn.Module | None = None,
        norm: nn.Module | None = None,
        act: str | None = None,
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_dropout(dropout)
        self.linear, self.propagate, self.norm = linear, propagate, norm
        self.act = check_activation(act)
        self.dropout, self.residual = dropout, residual

    def forward(self, x: Tensor) -> Tensor:
        """Apply the stage."""
        y = self.linear(x)
        return self._after(x, y if self.propagate is None else self.propagate(y))

    @property
    def allows_nodes_first(self) -> bool:
        """Whether nothing in the stage knows nodes apart, so that ``forward_nodes_first`` can be called."""
        known = self.norm is None or type(self.norm) in (NodeBatchNorm, nn.LayerNorm)
        return known and self.propagate is None and bool(getattr(self.linear, "allows_nodes_first", False))

    def forward_nodes_first(self, x: Tensor) -> Tensor:
        """The stage on signals with the nodes first and in cluster order, (N, B, C) -> (N, B, C')."""
        y = self.linear.forward_nodes_first(x)  # type: ignore[operator]
        if self.act == "relu" and self.norm is None:  # nobody else holds y: in place spares a pass and fresh memory
            F.relu_(y)
        return self._after(x, y, is_active=self.act == "relu" and self.norm is None)

    def _after(self, x: Tensor, y: Tensor, is_active: bool = False) -> Tensor:
        if self.norm is not None:
            y = self.norm(y)
        if self.act is not None and not is_active:
            y = ACTIVATIONS[self.act](y)
        if self.dropout > 0.0:
            y = F.dropout(y, self.dropout, self.training)
        if not self.residual:
            return y
        if y.shape != x.shape:
            raise ShapeError(f"a residual block keeps its shape, got {tuple(x.shape)} -> {tuple(y.shape)}")
        return x + y

    def extra_repr(self) -> str:
        """The parts that are no modules."""
        parts = [f"act={self.act}"] + ([f"dropout={self.dropout}"] if self.dropout else [])
        return ", ".join(parts + (["residual"] if self.residual else []))
