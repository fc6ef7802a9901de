"""What every layer asks of its input and its settings."""

import torch
from torch import Tensor

from gnet.errors import ConfigError, ShapeError


def check_shape(x: Tensor, num_nodes: int, channels: int) -> None:
    """Refuse an x that is not (*, N, C).

    Raises:
        ShapeError: it is not, or is no tensor.
    """
    if not isinstance(x, Tensor) or x.ndim < 2 or x.shape[-2:] != (num_nodes, channels):
        got = tuple(x.shape) if isinstance(x, Tensor) else f"a {type(x).__name__}, which is no tensor"
        raise ShapeError(f"expected x of shape (*, {num_nodes}, {channels}), got {got}")


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a setting that is none of the choices.

    Raises:
        ConfigError: it is none.
    """
    if value not in choices:
        raise ConfigError(f"expected {name} in {choices}, got {value!r}")


def check_channels(in_channels: int, out_channels: int) -> None:
    """Refuse layers without channels.

    Raises:
        ConfigError: a number below one, or no whole number.
    """
    if not all(isinstance(each, int) and each >= 1 for each in (in_channels, out_channels)):
        raise ConfigError(
            "expected whole numbers of channels, at least one in and out, "
            f"got in_channels={in_channels}, out_channels={out_channels}"
        )


def check_placement(x: Tensor, weight: Tensor) -> None:
    """Refuse an x on another device or of another dtype than the weights.

    Raises:
        ShapeError: it is; the message says how to convert.
    """
    if x.device != weight.device:
        raise ShapeError(f"expected x on {weight.device}, got {x.device}; move it with x.to(...) or the layer with layer.to(...)")
    if not x.is_floating_point():
        raise ShapeError(f"expected x of dtype {weight.dtype}, got {x.dtype}; convert it with x.to({weight.dtype})")
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise ShapeError(f"expected x of dtype {weight.dtype}, got {x.dtype}; convert x, or the layer with layer.to({x.dtype})")
