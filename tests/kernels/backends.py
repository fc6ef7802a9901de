"""Which backends can be tried here, and why the others cannot."""

import importlib.util
import os
from functools import cache

import torch

BACKENDS = ("native", "scatter", "triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@cache
def missing(name: str) -> str | None:
    """Why a backend cannot be tried, or None."""
    package = {"native": "torch", "scatter": "torch_scatter", "triton": "triton"}[name]
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed (make kernels tries to)"
    if name == "triton" and not (INTERPRETED or torch.cuda.is_available()):
        return "Triton needs a GPU, or TRITON_INTERPRET=1 (make kernels sets it)"
    return None


def cannot(name: str, what: str, dtype: torch.dtype = torch.float32) -> str | None:
    """Why a backend that is here cannot do something, or None."""
    if name == "triton" and INTERPRETED and (what == "autocast" or dtype is torch.bfloat16):
        return "bfloat16 products are wrong in Triton's interpreter, and gnet refuses them there; a GPU does them"
    return None
