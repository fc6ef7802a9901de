"""Which code computes the sums and grouped products of the kernels: torch's own, torch-scatter or Triton.

The environment variable GNET_BACKEND names one for a whole process, ``backend`` for a while. What a backend does not serve
(other devices, whole numbers, kernels that it does not have) torch computes, to the same numbers.
"""

import difflib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from gnet.errors import ConfigError

MODULES = {
    "native": None,
    "scatter": "gnet.kernels.scatter_backend",
    "triton": "gnet.kernels.triton_backend",
}
"""Where each backend is; a module is imported when its backend is chosen, and with it the package that it needs."""


class Backend:
    """What another backend than torch computes; ``calls`` counts how often, by the name of the operation.

    ``own_linear(x, own, offsets, index)`` and ``sparse_linear(x, weights, index, scale)`` are as in ``blocks`` and ``sparse``;
    None leaves them to torch.
    """

    name: str
    own_linear: Callable[..., Tensor] | None = None
    sparse_linear: Callable[..., Tensor] | None = None

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def serves(self, x: Tensor) -> bool:
        """Whether it computes on tensors of this device and dtype."""
        return x.is_floating_point()

    def sums(self, values: Tensor, places: Tensor, count: int) -> Tensor:
        """Sums of the rows that share a place, (O, R, F) -> (O, count, F), in the dtype of the values."""
        raise NotImplementedError

    def pooled_linear(self, x: Tensor, own: Tensor | None, mix: Tensor, bias: Tensor | None, index: Any, axis: int) -> Tensor:
        """The pooled form on (*, N, C) with the nodes in their own order (axis 1), or (N, B, C) in cluster order (axis 0)."""
        raise NotImplementedError


# A plain global and no context variable: torch.compile guards on it, and the default costs one comparison with None.
active: Backend | None = None
_made: dict[str, Backend] = {}


def chosen() -> str:
    """The name of the backend in force.

    Example:
        >>> chosen()
        'native'
    """
    return "native" if active is None else active.name


@contextmanager
def backend(name: str) -> Iterator[Backend | None]:
    """Compute with another backend within a ``with`` block, in all threads of the process; blocks may be nested.

    A forward pass inside keeps its backend in the backward pass, wherever that runs.

    Raises:
        ConfigError: an unknown name, or Triton without a device for it.
        MissingExtraError: the package of the backend is not installed, too old, or built for another torch.

    Example:
        >>> with backend("native"):
        ...     GNet(SymmetricGroup(3), 1, 4, 1)(torch.ones(2, 3, 1)).shape
        torch.Size([2, 3, 1])
    """
    global active
    before = active
    active = named(name)
    try:
        yield active
    finally:
        active = before


def lowered(*tensors: Tensor | None) -> list[Any]:
    """The tensors in the dtype that autocast asks for on their device, as torch's own products have them.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     lowered(torch.ones(1), None)
        [tensor([1.], dtype=torch.bfloat16), None]
    """
    low = autocast_dtype(next(tensor.device.type for tensor in tensors if tensor is not None))
    return list(tensors) if low is None else [None if tensor is None else tensor.to(low) for tensor in tensors]


def autocast_dtype(device: str) -> torch.dtype | None:
    """The dtype that autocast asks for on a type of device, or None where it is off or, as on "meta", does not exist.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     autocast_dtype("cpu"), autocast_dtype("meta")
        (torch.bfloat16, None)
    """
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def named(name: str) -> Backend | None:
    """The backend of a name, made when it is first asked for; None is torch's own.

    Example:
        >>> named("trition")
        Traceback (most recent call last):
        gnet.errors.ConfigError: no backend is called 'trition'; did you mean 'triton'? GNET_BACKEND is one of native, ...
    """
    if name not in MODULES:
        near = difflib.get_close_matches(str(name), MODULES, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else "."
        raise ConfigError(f"no backend is called {name!r}{meant} GNET_BACKEND is one of {', '.join(MODULES)}")
    module = MODULES[name]
    if module is None:
        return None
    if name not in _made:
        _made[name] = import_module(module).make()
    return _made[name]


def start(environment: Mapping[str, str] = os.environ) -> None:
    """Take the backend that GNET_BACKEND names; an empty one is torch's own."""
    global active
    active = named(environment.get("GNET_BACKEND") or "native")
