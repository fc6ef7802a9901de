"""The Triton backend: the kernels as operations of torch, and the maps of a net in terms of these.

The operations are single steps to torch.compile and torch.export, have rules for vmap, and are differentiated in ``forms``.
Signals elsewhere than on a GPU are left to torch, unless Triton's interpreter runs.
"""

import math
from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from gnet.errors import ConfigError, MissingExtraError
from gnet.kernels.backends import Backend, lowered
from gnet.kernels.batched import Axes, folded, one_by_one, only, register_sums
from gnet.kernels.blocks import ClusterIndex, mix_clusters
from gnet.kernels.forms import RAW, along, cluster_sums, own_plus, own_products, row_sums
from gnet.kernels.sparse import RowIndex

MINIMUM = (3, 7)
"""The oldest Triton that the kernels are tested with."""

try:
    import triton
except ImportError as error:
    raise MissingExtraError(
        "GNET_BACKEND=triton needs triton, which is not installed: torch for CUDA brings it along on Linux; to try the kernels "
        "on a CPU, pip install triton and set TRITON_INTERPRET=1; or take GNET_BACKEND=native"
    ) from error
if tuple(int(part) for part in triton.__version__.split(".")[:2]) < MINIMUM:
    raise MissingExtraError(
        f"GNET_BACKEND=triton needs triton >= {'.'.join(map(str, MINIMUM))}, and {triton.__version__} is installed; "
        "take a newer torch, or GNET_BACKEND=native"
    )

from gnet.kernels import triton_launch as launch  # noqa: E402  # it imports triton, which has been looked at above

CALLS: Counter[str] = Counter()


@torch.library.custom_op("gnet::triton_sums", mutates_args=())
def _sums(values: Tensor, order: Tensor | None, ptr: Tensor, divisor: Tensor | None) -> Tensor:
    CALLS["sums"] += 1
    return launch.sums(values.contiguous(), order, ptr, divisor)


register_sums(_sums)


@torch.library.custom_op("gnet::triton_times_plus", mutates_args=())
def _times_plus(
    x: Tensor, weights: Tensor, offsets: Tensor | None, order: Tensor | None, ptr: Tensor, axis: int, transposed: bool
) -> Tensor:
    CALLS["times_plus"] += 1
    sent = None if offsets is None else offsets.contiguous()
    return launch.times_plus(x.contiguous(), weights, sent, order, ptr, axis, transposed)


@_times_plus.register_fake
def _(
    x: Tensor, weights: Tensor, offsets: Tensor | None, order: Tensor | None, ptr: Tensor, axis: int, transposed: bool
) -> Tensor:
    return x.new_empty((*x.shape[:2], weights.shape[2 if transposed else 1]))


@_times_plus.register_vmap
def _(info: Any, in_dims: Axes, *args: Any) -> tuple[Tensor, int]:
    if not only(in_dims, [0, 2]):
        return one_by_one(_times_plus, info.batch_size, in_dims, args)
    batch_axis = 1 - args[5]
    x = folded(args[0], in_dims[0], info.batch_size, batch_axis)
    offsets = folded(args[2], in_dims[2], info.batch_size, 0)
    y = _times_plus(x, args[1], offsets, *args[3:])
    return y.unflatten(batch_axis, (info.batch_size, -1)), batch_axis


@torch.library.custom_op("gnet::triton_products", mutates_args=())
def _products(left: Tensor, right: Tensor, order: Tensor | None, ptr: Tensor, axis: int) -> Tensor:
    CALLS["products"] += 1
    return launch.products(left.contiguous(), right.contiguous(), order, ptr, axis)


@_products.register_fake
def _(left: Tensor, right: Tensor, order: Tensor | None, ptr: Tensor, axis: int) -> Tensor:
    return left.new_empty((ptr.shape[0] - 1, left.shape[2], right.shape[2]))


@_products.register_vmap
def _(info: Any, in_dims: Axes, *args: Any) -> tuple[Tensor, int]:
    return one_by_one(_products, info.batch_size, in_dims, args)


def _contiguous(*tensors: Tensor | None) -> list[Any]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


@torch.library.custom_op("gnet::triton_along", mutates_args=())
def _along(
    missing: int,
    g: Tensor | None,
    w: Tensor | None,
    x: Tensor | None,
    s: Tensor | None,
    senders: Tensor,
    rows: Tensor,
    receivers: Tensor,
    orbits: Tensor,
    num_nodes: int,
    count: int,
    num_senders: int,
) -> Tensor:
    CALLS[("along", "along_products", "along_transposed", "along_scores")[missing]] += 1
    plan = launch.plan_of(senders, rows, receivers, orbits, num_nodes, count, num_senders)
    to, by_weight, by, scale = _contiguous(g, w, x, s)
    if missing == 0:
        return launch.along(by, by_weight, scale, plan.heard, num_nodes, False)
    if missing == 2:
        return launch.along(to, by_weight, scale, plan.sent, num_senders, True)
    if missing == 1:
        return launch.along_products(to, by, scale, senders, plan, count)
    return launch.along_scores(to, by_weight, by, senders, plan)


@_along.register_fake
def _(missing: int, g: Any, w: Any, x: Any, s: Any, senders: Any, rows: Any, receivers: Any, orbits: Any, *sizes: int) -> Tensor:
    num_nodes, count, num_senders = sizes
    if missing == 0:
        return x.new_empty((x.shape[0], num_nodes, w.shape[1]))
    if missing == 1:
        return x.new_empty((count, g.shape[2], x.shape[2]))
    if missing == 2:
        return g.new_empty((g.shape[0], num_senders, w.shape[2]))
    return x.new_empty(senders.shape)


@_along.register_vmap
def _(info: Any, in_dims: Axes, *args: Any) -> tuple[Tensor, int]:
    missing = args[0]
    place = 3 - missing  # of the signal: x (3) where g (1) is left out, and the other way round
    if missing % 2 or not only(in_dims, [place]):
        return one_by_one(_along, info.batch_size, in_dims, args)
    signal = folded(args[place], in_dims[place], info.batch_size, 0)
    y = _along(*args[:place], signal, *args[place + 1 :])
    return y.unflatten(0, (info.batch_size, -1)), 0


RAW.update({"triton.sums": _sums, "triton.times_plus": _times_plus, "triton.products": _products, "triton.along": _along})


class _Pooled(Function):
    """The whole pooled form, and the pooled signal, which the backward reads; every pass over the nodes is one kernel.

    Shapes:
        x: (N, B, C) in cluster order on axis 0, (B, N, C) on axis 1    own: (k, C', C)    mix: (k, C', k, C)
        places: the cluster of each node of x    order: nodes by cluster, or None if sorted    ptr: (k + 1,)
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor,
        own: Tensor,
        mix: Tensor,
        bias: Tensor | None,
        places: Tensor,
        order: Tensor | None,
        ptr: Tensor,
        divisor: Tensor,
        axis: int,
    ) -> tuple[Tensor, Tensor]:
        pooled = cluster_sums(x, places, order, ptr, divisor, axis)
        return _times_plus(x, own, mix_clusters(pooled, mix, bias), order, ptr, axis, False), pooled

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, own, mix, bias, places, order, ptr, divisor, ctx.axis = inputs
        ctx.has_bias = bias is not None
        ctx.save_for_backward(x, own, mix, output[1], places, order, ptr, divisor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_pooled: Tensor) -> tuple[Tensor | None, ...]:
        x, own, mix, pooled, places, order, ptr, divisor = ctx.saved_tensors
        need_x, need_own, need_mix, need_bias = ctx.needs_input_grad[:4]
        axis, has_bias = ctx.axis, ctx.has_bias
        sums = cluster_sums(grad, places, order, ptr, None, axis)  # (B, k, C')
        grad_x = grad_own = grad_mix = grad_bias = None
        if need_x:
            back = grad_pooled + F.linear(sums.flatten(1), mix.flatten(2).flatten(0, 1).t()).view(pooled.shape)
            grad_x = own_plus(grad, own, back / divisor.to(x.dtype)[:, None], places, order, ptr, axis, transposed=True)
        if need_own:
            grad_own = own_products(grad, x, order, ptr, axis)
        if need_mix:
            grad_mix = torch.mm(sums.flatten(1).t(), pooled.flatten(1)).view(mix.shape)
        if has_bias and need_bias:
            grad_bias = sums.sum(0)
        return grad_x, grad_own, grad_mix, grad_bias, None, None, None, None, None


def _layout(index: ClusterIndex, axis: int) -> tuple[Tensor, Tensor | None]:
    """The cluster of each node, and the nodes by cluster where they are not sorted."""
    if axis == 0 or index.is_sorted:
        return index.sorted_labels, None
    return index.labels, index.order


class Triton(Backend):
    """Triton's kernels for signals on a GPU, or in its interpreter."""

    name = "triton"

    def __init__(self) -> None:
        super().__init__()
        self.calls = CALLS

    def serves(self, x: Tensor) -> bool:
        """Floating-point signals on a GPU; in the interpreter on the CPU."""
        return x.is_floating_point() and (x.is_cuda or (launch.INTERPRETED and x.device.type == "cpu"))

    def sums(self, values: Tensor, places: Tensor, count: int) -> Tensor:
        """Sums of rows; their places are sorted in every call, which the maps of clusters need not do."""
        return row_sums("triton", values, places, count)

    def pooled_linear(self, x: Tensor, own: Tensor | None, mix: Tensor, bias: Tensor | None, index: Any, axis: int) -> Tensor:
        """Mean of clusters, mixing by one product, and the nodes' own product with the mixture added in the same pass."""
        x, own, mix, bias = lowered(x, own, mix, bias)
        flat = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:]) if axis == 1 else x
        places, order = _layout(index, axis)
        if own is None:
            mixed = mix_clusters(cluster_sums(flat, places, order, index.ptr, index.divisor, axis), mix, bias)
            y = mixed.index_select(1, places) if axis == 1 else mixed.transpose(0, 1).index_select(0, places)
        else:
            y = _Pooled.apply(flat, own, mix, bias, places, order, index.ptr, index.divisor, axis)[0]
        return y.reshape(*x.shape[:-1], mix.shape[1])

    def own_linear(self, x: Tensor, own: Tensor, offsets: Tensor, index: Any) -> Tensor:
        """The nodes' own product, with what the clusters are sent added in the same pass."""
        x, own, offsets, _ = lowered(x, own.to(x.dtype), offsets.to(x.dtype), None)
        batch = math.prod(x.shape[:-2])
        places, order = _layout(index, 1)
        flat, sent = x.reshape(batch, *x.shape[-2:]), offsets.reshape(batch, *offsets.shape[-2:])
        y = own_plus(flat, own, sent, places, order, index.ptr, 1)
        return y.reshape(*x.shape[:-1], own.shape[1])

    def sparse_linear(self, x: Tensor, weights: Tensor, index: RowIndex, scale: Tensor | None) -> Tensor:
        """The convolution along edges in one pass: nothing of the size of the edges is stored."""
        x, weights, scale, _ = lowered(x, weights.to(x.dtype), None if scale is None else scale.to(x.dtype), None)
        flat = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
        sizes = (index.num_nodes, weights.shape[0], x.shape[-2])
        edges = (index.senders, index.rows, index.receivers, index.orbits)
        y = along(flat, weights, scale, edges, sizes)
        return y.reshape(*x.shape[:-2], index.num_nodes, weights.shape[1])


def make() -> Triton:
    """The backend, where there is something to run it on.

    Raises:
        ConfigError: there is neither a GPU nor the interpreter.
    """
    if not (launch.INTERPRETED or torch.cuda.is_available()):
        raise ConfigError(
            "GNET_BACKEND=triton needs a GPU, and torch sees none; take GNET_BACKEND=native, or set TRITON_INTERPRET=1 before "
            "Python starts to try the kernels on the CPU, slowly"
        )
    return Triton()
