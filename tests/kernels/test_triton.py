"""Each Triton kernel, forward and backward, against torch's own in float64; in the interpreter where there is no GPU."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from gnet.errors import ConfigError
from gnet.kernels import backend
from gnet.kernels.blocks import ClusterIndex, nodes_first, own_linear, pooled_linear, pooled_linear_nodes_first
from gnet.kernels.segments import cluster_mean
from gnet.kernels.sparse import RowIndex, sparse_linear
from tests.kernels.backends import DEVICE, INTERPRETED, cannot, missing

pytestmark = pytest.mark.skipif(missing("triton") is not None, reason=str(missing("triton")))

DTYPES = {
    torch.float64: 1e-10,
    torch.float32: 2e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 6e-2,
}
SIZES = [1, 21, 3]
"""A singleton, and clusters that end within a tile of 64 rows, or of 16."""

Case = tuple[Callable[..., Tensor], list[Tensor]]


def clusters(batch: int, channels: int, rng: torch.Generator, sizes: list[int] = SIZES) -> tuple[ClusterIndex, Callable]:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=rng)]
    index = ClusterIndex.of(labels.to(DEVICE), torch.tensor(sizes).to(DEVICE))
    return index, lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64).to(DEVICE)


def segment_mean(batch: int, channels: int, rng: torch.Generator) -> Case:
    index, draw = clusters(batch, channels, rng)
    return lambda x: cluster_mean(x, index.labels, 3), [draw(batch, 25, channels)]


def pooled(batch: int, channels: int, rng: torch.Generator) -> Case:
    index, draw = clusters(batch, channels, rng)
    weights = [draw(3, 7, channels), draw(3, 7, 3, channels), draw(3, 7)]
    return lambda *args: pooled_linear(*args, index), [draw(batch, 25, channels), *weights]


def pooled_inside_a_net(batch: int, channels: int, rng: torch.Generator) -> Case:
    index, draw = clusters(batch, channels, rng)
    weights = [draw(3, 7, channels), draw(3, 7, 3, channels)]
    return lambda *args: pooled_linear_nodes_first(*args, None, index), [nodes_first(draw(batch, 25, channels), index), *weights]


def own_product(batch: int, channels: int, rng: torch.Generator) -> Case:
    index, draw = clusters(batch, channels, rng)
    return lambda *args: own_linear(*args, index), [draw(batch, 25, channels), draw(3, 7, channels), draw(batch, 3, 7)]


def edges(rng: torch.Generator) -> RowIndex:
    """Orbits of 1, 2, 2, ... edges; one node hears nothing, one hears two senders of one orbit."""
    pairs = torch.tensor([[0, 1, 2, 3, 4, 0, 2, 3], [0, 3, 3, 1, 1, 2, 2, 2]])
    return RowIndex(
        *(t.to(DEVICE) if isinstance(t, Tensor) else t for t in RowIndex.of(pairs, torch.tensor([0, 1, 1, 2, 1, 1, 2, 2]), 5, 3))
    )


def convolution(batch: int, channels: int, rng: torch.Generator) -> Case:
    index, (_, draw) = edges(rng), clusters(batch, channels, rng)
    return lambda x, w: sparse_linear(x, w, index), [draw(batch, 5, channels), draw(3, 7, channels)]


def scaled_convolution(batch: int, channels: int, rng: torch.Generator) -> Case:
    index, (_, draw) = edges(rng), clusters(batch, channels, rng)
    return lambda x, w, s: sparse_linear(x, w, index, s), [draw(batch, 5, channels), draw(3, 7, channels), draw(8)]


KERNELS = {
    each.__name__: each for each in (segment_mean, pooled, pooled_inside_a_net, own_product, convolution, scaled_convolution)
}


def assert_like_torch_in_float64(case: Case, dtype: torch.dtype, rng: torch.Generator) -> None:
    """Values and gradients of a call on the Triton backend, relative to the largest of torch's own."""
    call, inputs = case
    given = [x.to(dtype).requires_grad_() for x in inputs]
    exact = [x.detach().double().requires_grad_() for x in given]
    with backend("triton"):
        found = call(*given)
    expected = call(*exact)
    weight = torch.randn(expected.shape, generator=rng, dtype=torch.float64).to(DEVICE).to(dtype)
    grads = torch.autograd.grad(found, given, weight), torch.autograd.grad(expected, exact, weight.double())
    assert found.dtype == dtype
    for a, b in zip((found, *grads[0]), (expected, *grads[1]), strict=True):
        size = max(float(b.detach().abs().max()), 1.0) if b.numel() else 1.0
        torch.testing.assert_close(a.double() / size, b / size, rtol=0.0, atol=DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_like_torch_in_float64(kernel, dtype, rng):
    if reason := cannot("triton", kernel, dtype):
        pytest.skip(f"triton: {reason}")
    assert_like_torch_in_float64(KERNELS[kernel](4, 5, rng), dtype, rng)


@pytest.mark.parametrize("kernel", KERNELS)
def test_more_channels_than_a_tile(kernel, rng):
    assert_like_torch_in_float64(KERNELS[kernel](2, 67, rng), torch.float32, rng)


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_empty_batch(kernel, rng):
    assert_like_torch_in_float64(KERNELS[kernel](0, 5, rng), torch.float32, rng)


@pytest.mark.parametrize("kernel", KERNELS)
def test_repeats_to_the_bit(kernel, rng):
    call, inputs = KERNELS[kernel](3, 5, rng)
    inputs = [x.float().requires_grad_() for x in inputs]
    results = []
    with backend("triton"):
        for _ in range(2):
            y = call(*inputs)
            results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_no_kernel_uses_atomics():
    from gnet.kernels import triton_kernels

    assert "atomic_" not in Path(triton_kernels.__file__).read_text()


def test_large_sums_are_split_and_added(rng, monkeypatch):
    from gnet.kernels import triton_launch

    monkeypatch.setattr(triton_launch, "ROWS", 16)
    monkeypatch.setattr(triton_launch, "_parts", lambda count, rows: 3)
    for kernel in (segment_mean, pooled, convolution):
        assert_like_torch_in_float64(kernel(3, 5, rng), torch.float32, rng)


@pytest.mark.skipif(not INTERPRETED, reason="a GPU multiplies bfloat16")
def test_bfloat16_is_refused_in_the_interpreter(rng):
    call, inputs = pooled(2, 5, rng)
    with backend("triton"), pytest.raises(ConfigError, match="interpreter multiplies bfloat16 wrongly; take float32"):
        call(*(x.bfloat16() for x in inputs))


# --- liars ---


def lying(old: str, new: str, folder: Path) -> ModuleType:
    """The kernels with a line exchanged."""
    from gnet.kernels import triton_kernels

    source = Path(triton_kernels.__file__).read_text()
    assert old in source
    path = folder / "lying_kernels.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location("lying_kernels", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("kernel", "old", "new"),
    [
        pytest.param("segment_mean", "while at < stop:", "while at + BLOCK_ROWS <= stop:", id="sums without the ragged tail"),
        pytest.param(
            "own_product",
            "inside = rows < size * batch",
            "inside = rows < size * batch // BLOCK_ROWS * BLOCK_ROWS",
            id="a product without the ragged tail",
        ),
        pytest.param(
            "own_product", "while at < stop:", "while at + BLOCK_ROWS <= stop:", id="a gradient without the ragged tail"
        ),
        pytest.param(
            "pooled", "total += sent.to(total.dtype)", "total += 0.0 * sent.to(total.dtype)", id="without the pooled part"
        ),
        pytest.param("pooled", "if HAS_DIVISOR:", "if False:", id="sums for means"),
        pytest.param("convolution", "while at < end:", "while at + 1 < end:", id="an edge too few"),
        pytest.param("scaled_convolution", "if HAS_SCALE:", "if False:", id="without the weights of the edges"),
    ],
)
def test_a_liar_is_found(kernel, old, new, rng, tmp_path, monkeypatch):
    from gnet.kernels import triton_launch

    monkeypatch.setattr(triton_launch, "kernels", lying(old, new, tmp_path))
    with pytest.raises(AssertionError, match="not close"):
        assert_like_torch_in_float64(KERNELS[kernel](4, 5, rng), torch.float32, rng)
