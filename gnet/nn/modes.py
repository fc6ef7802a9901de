"""Training and evaluation mode of a module."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(f: object) -> Iterator[None]:
    """Put a module into eval mode (batch norm and dropout would not be functions of x alone) and back afterwards; no gradients.

    Parts that were in eval mode before stay there. What is no module is left alone.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout().eval())
        >>> with evaluating(net):
        ...     net.training
        False
        >>> [module.training for module in net.modules()]
        [True, True, False]
    """
    modules = [m for m in f.modules() if m.training] if isinstance(f, nn.Module) else []
    if isinstance(f, nn.Module):
        f.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in modules:
            module.training = True
