"""What every layer asks of its input and its settings."""

import difflib
from typing import Any, get_args

from torch import Tensor, nn
from torch_geometric.data import Data

from gnet.counts import is_count
from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.kernels.backends import autocast_dtype


def check_shape(x: Tensor, num_nodes: int, channels: int) -> None:
    """Refuse an x that is not (*, N, C).

    Raises:
        ShapeError: it is not, or is no tensor.
    """
    if not isinstance(x, Tensor):
        raise ShapeError(f"expected x of shape (*, {num_nodes}, {channels}), got {no_tensor(x)}")
    if x.ndim < 2 or x.shape[-2:] != (num_nodes, channels):
        raise ShapeError(f"expected x of shape (*, {num_nodes}, {channels}), got {tuple(x.shape)}")


def no_tensor(x: object) -> str:
    """What was given in place of a tensor, and how to give one.

    Example:
        >>> no_tensor([1.0]), no_tensor(Data())
        ('a list, which is no tensor; convert with torch.as_tensor(x)', 'a Data, which is no tensor; give its signals, data.x')
    """
    fix = "give its signals, data.x" if isinstance(x, Data) else "convert with torch.as_tensor(x)"
    return f"a {type(x).__name__}, which is no tensor; {fix}"


def signals_of(x: object, num_nodes: int) -> tuple[Tensor, bool]:
    """The signals as (*, N, C), and whether they came flat, as PyG batches them: (B * N, C) with B of one or more.

    Raises:
        ShapeError: no tensor, or a flat one whose rows are no multiple of N.

    Example:
        >>> x, is_flat = signals_of(torch.zeros(10, 2), 5)
        >>> x.shape, is_flat
        (torch.Size([2, 5, 2]), True)
    """
    if not isinstance(x, Tensor):
        raise ShapeError(f"expected x of shape (*, {num_nodes}, C), got {no_tensor(x)}")
    if x.ndim != 2:
        return x, False
    if x.shape[0] % num_nodes:
        raise ShapeError(
            f"expected (*, {num_nodes}, C), or flat (B * {num_nodes}, C), got {tuple(x.shape)}: "
            f"{x.shape[0]} is no multiple of {num_nodes} nodes"
        )
    return x.reshape(-1, num_nodes, x.shape[-1]), True


def refuse_graph(*given: object) -> None:
    """Refuse edges where a net is called: those of PyG take them there.

    Raises:
        ConfigError: something was given.
    """
    if any(each is not None for each in given):
        raise ConfigError("the graph is fixed when the net is made (its group, edge_index=); call net(x) alone")


def check_choice(name: str, value: object, choices: Any) -> None:
    """Refuse a setting that is none of the choices: a tuple, or a ``Literal``.

    Raises:
        ConfigError: with all choices and the nearest one.

    Example:
        >>> from typing import Literal
        >>> check_choice("target", "graf", Literal["node", "graph"])
        Traceback (most recent call last):
        gnet.errors.ConfigError: expected target to be one of 'node', 'graph', got 'graf'; did you mean 'graph'?
    """
    known = choices if isinstance(choices, tuple) else get_args(choices)
    if value not in known:
        near = difflib.get_close_matches(str(value), [each for each in known if isinstance(each, str)], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"expected {name} to be one of {', '.join(map(repr, known))}, got {value!r}{hint}")


def check_channels(in_channels: int, out_channels: int) -> None:
    """Refuse layers without channels.

    Raises:
        ConfigError: a number below one, or no whole number.
    """
    if not is_count(in_channels) or not is_count(out_channels):
        raise ConfigError(
            "expected whole numbers of channels, at least one in and out, "
            f"got in_channels={in_channels}, out_channels={out_channels}"
        )


def check_placement(x: Tensor, weight: Tensor, name: str = "x") -> None:
    """Refuse signals on another device or of another dtype than the weights.

    Raises:
        ShapeError: it is; the message says how to convert.
    """
    if x.device != weight.device:
        fix = f"move it with {name}.to(...) or the layer with layer.to(...)"
        raise ShapeError(f"expected {name} on {weight.device}, got {x.device}; {fix}")
    if not x.is_floating_point():
        raise ShapeError(f"expected {name} of dtype {weight.dtype}, got {x.dtype}; convert it with {name}.to({weight.dtype})")
    if x.dtype != weight.dtype and autocast_dtype(x.device.type) is None:
        fix = f"convert {name}, or the layer with layer.to({x.dtype})"
        raise ShapeError(f"expected {name} of dtype {weight.dtype}, got {x.dtype}; {fix}")


def require_finite(x: Tensor, what: str) -> None:
    """Refuse NaN and infinity where a formula would make an answer of them, or fail without saying why.

    Shapes:
        x: (B, ...)

    Raises:
        DegenerateInputError: with the first item that has them.

    Example:
        >>> require_finite(torch.tensor([[1.0], [float("nan")]]), "vectors")
        Traceback (most recent call last):
        gnet.errors.DegenerateInputError: expected finite vectors, got NaN or infinity in item 1; leave it out, or fill it in
    """
    wrong = ~x.detach().isfinite()
    if bool(wrong.any()):
        item = int(wrong.nonzero()[0, 0]) if wrong.ndim else 0
        raise DegenerateInputError(f"expected finite {what}, got NaN or infinity in item {item}; leave it out, or fill it in")


def first_linear(f: object) -> nn.Linear | None:
    """The linear map that a net begins with, which says width, dtype and device of its inputs; None where it begins otherwise.

    Example:
        >>> first_linear(nn.Sequential(nn.Linear(12, 1), nn.ReLU())), first_linear(nn.ReLU())
        (Linear(in_features=12, out_features=1, bias=True), None)
    """
    first = f[0] if isinstance(f, nn.Sequential) and len(f) else f
    return first if type(first) is nn.Linear else None
