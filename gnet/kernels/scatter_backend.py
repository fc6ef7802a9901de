"""The torch-scatter backend: sums of segments; all products stay with torch.

Its authors retire torch-scatter in favour of torch's own operations, so it is for comparison, and for those who have it anyway.
"""

import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from gnet.errors import MissingExtraError
from gnet.kernels.backends import Backend, lowered
from gnet.kernels.batched import register_sums
from gnet.kernels.blocks import mix_clusters, own_linear, own_linear_nodes_first
from gnet.kernels.forms import RAW, cluster_sums, row_sums

INSTALL = "pip install --no-build-isolation torch-scatter (with a C++ compiler, after torch), or take GNET_BACKEND=native"

try:
    import torch_scatter

    _sum = torch.ops.torch_scatter.segment_sum_csr  # a build for another torch may import, and have no operations
except ModuleNotFoundError as error:
    raise MissingExtraError(f"GNET_BACKEND=scatter needs torch-scatter, which is not installed: {INSTALL}") from error
except (ImportError, OSError, AttributeError, RuntimeError) as error:
    raise MissingExtraError(
        f"torch-scatter does not load into torch {torch.__version__} ({type(error).__name__}); it was built for another one. "
        f"Build it again: pip uninstall torch-scatter, then add --no-cache-dir to {INSTALL}"
    ) from error

CALLS: Counter[str] = Counter()


@torch.library.custom_op("gnet::scatter_sums", mutates_args=())
def _sums(values: Tensor, order: Tensor | None, ptr: Tensor, divisor: Tensor | None) -> Tensor:
    CALLS["sums"] += 1
    wide = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    ordered = wide if order is None else wide.index_select(1, order)
    sums = torch_scatter.segment_csr(ordered.contiguous(), ptr[None], reduce="sum")
    return (sums if divisor is None else sums / divisor[:, None]).to(values.dtype)


register_sums(_sums)


RAW["scatter.sums"] = _sums


class Scatter(Backend):
    """Sums and means by ``segment_csr`` of torch-scatter, on CPU and GPU."""

    name = "scatter"

    def __init__(self) -> None:
        super().__init__()
        self.calls = CALLS

    def sums(self, values: Tensor, places: Tensor, count: int) -> Tensor:
        """Sums of rows; their places are sorted in every call, which the maps of clusters need not do."""
        return row_sums("scatter", values, places, count)

    def pooled_linear(self, x: Tensor, own: Tensor | None, mix: Tensor, bias: Tensor | None, index: Any, axis: int) -> Tensor:
        """Means by torch-scatter, products by torch."""
        x, own, mix, bias = lowered(x, own, mix, bias)
        flat = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:]) if axis == 1 else x
        inside = axis == 0 or index.is_sorted
        places, order = (index.sorted_labels, None) if inside else (index.labels, index.order)
        mixed = mix_clusters(cluster_sums(flat, places, order, index.ptr, index.divisor, axis, "scatter"), mix, bias)
        if own is None:
            y = mixed.index_select(1, places) if axis == 1 else mixed.transpose(0, 1).index_select(0, places)
        else:
            y = own_linear(flat, own, mixed, index) if axis == 1 else own_linear_nodes_first(flat, own, mixed, index)
        return y.reshape(*x.shape[:-1], mix.shape[1])


def make() -> Scatter:
    """The backend."""
    return Scatter()
