"""The fast kernels of the pooled form equal the explicit matrix."""

import pytest
import torch
from torch import Tensor

from gnet.kernels.blocks import ClusterIndex, nodes_first, nodes_last, pooled_linear, pooled_linear_nodes_first

CLUSTERS = {
    "even": [3, 3, 3, 3],
    "uneven": [2, 5, 3],
    "large_even": [20, 20, 20],
    "large_uneven": [20, 17, 30],
    "with_singletons": [1, 4, 1, 2],
    "one_cluster": [7],
    "all_singletons": [1, 1, 1, 1, 1],
    "one_node": [1],
}
CHANNELS = [(1, 1), (1, 5), (4, 1), (2, 3)]


def labels_of(sizes: list[int], interleaved: bool, rng: torch.Generator) -> Tensor:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return labels[torch.randperm(len(labels), generator=rng)] if interleaved else labels


def explicit(x: Tensor, own: Tensor | None, mix: Tensor, bias: Tensor | None, labels: Tensor, divisor: Tensor) -> Tensor:
    """``y_i = sum_j W_ij x_j + b_i`` pair by pair, from the definition."""
    weight = mix.permute(0, 2, 1, 3)[labels[:, None], labels[None, :]] / divisor[labels][None, :, None, None]  # (N, N, C', C)
    if own is not None:
        weight = weight + torch.eye(len(labels), dtype=x.dtype)[:, :, None, None] * own[labels][:, None]
    y = torch.einsum("ijoc,...jc->...io", weight, x)
    return y if bias is None else y + bias[labels]


def arguments(sizes, channels, interleaved, has_own, rng, dtype=torch.float64):
    labels = labels_of(sizes, interleaved, rng)
    k, (c_in, c_out) = len(sizes), channels

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=dtype, requires_grad=True)

    own = draw(k, c_out, c_in) if has_own else None
    divisor = torch.randint(1, 9, (k,), generator=rng)
    return labels, divisor, own, draw(k, c_out, k, c_in), draw(k, c_out), draw


def assert_same_with_gradients(fast: Tensor, slow: Tensor, inputs: list[Tensor], rng: torch.Generator) -> None:
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    weight = torch.randn(slow.shape, generator=rng, dtype=slow.dtype)
    for a, b in zip(
        torch.autograd.grad(fast, inputs, weight), torch.autograd.grad(slow, inputs, weight, retain_graph=True), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("has_own", [False, True])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("sizes", CLUSTERS.values(), ids=CLUSTERS)
def test_equals_the_explicit_matrix(sizes, channels, has_own, interleaved, rng):
    labels, divisor, own, mix, bias, draw = arguments(sizes, channels, interleaved, has_own, rng)
    index = ClusterIndex.of(labels, divisor)
    for batch in ((6,), (1,), (), (2, 3)):
        x = draw(*batch, len(labels), channels[0])
        inputs = [t for t in (x, own, mix, bias) if t is not None]
        slow = explicit(x, own, mix, bias, labels, divisor)
        assert_same_with_gradients(pooled_linear(x, own, mix, bias, index), slow, inputs, rng)
        if len(batch) == 1:
            inside = pooled_linear_nodes_first(nodes_first(x, index), own, mix, bias, index)
            assert_same_with_gradients(nodes_last(inside, index), slow, inputs, rng)


@pytest.mark.parametrize("sizes", CLUSTERS.values(), ids=CLUSTERS)
def test_an_empty_batch_gives_an_empty_batch_and_zero_gradients(sizes, rng):
    labels, divisor, own, mix, bias, draw = arguments(sizes, (2, 3), True, True, rng)
    index = ClusterIndex.of(labels, divisor)
    y = pooled_linear(draw(0, len(labels), 2), own, mix, bias, index)
    assert y.shape == (0, len(labels), 3)
    assert all(g.abs().sum() == 0 for g in torch.autograd.grad(y.sum(), [own, mix, bias]))


def test_a_liar_with_two_clusters_exchanged_is_found(rng):
    labels, divisor, own, mix, bias, draw = arguments([2, 5, 5], (2, 3), True, True, rng)
    x = draw(6, len(labels), 2)
    liar = ClusterIndex.of(torch.tensor([0, 2, 1])[labels], divisor)
    slow = explicit(x, own, mix, bias, labels, divisor)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(pooled_linear(x, own, mix, bias, liar), slow)


@pytest.mark.parametrize("sizes", [[40, 40], [40, 30], [2, 2, 2], [1, 3]], ids=str)
def test_the_input_is_left_alone_and_strides_do_not_matter(sizes, rng):
    labels, divisor, own, mix, bias, draw = arguments(sizes, (2, 3), True, True, rng)
    index = ClusterIndex.of(labels, divisor)
    x = draw(len(labels), 6, 2).detach().transpose(0, 1)
    before = x.clone()
    y = pooled_linear(x, own, mix, bias, index)
    assert torch.equal(x, before)
    torch.testing.assert_close(y, pooled_linear(x.contiguous(), own, mix, bias, index))
    assert y.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sizes", [[900, 900], [900, 700], [4] * 30, [4, 3] * 15], ids=["even", "uneven", "fine", "fine_uneven"])
def test_low_precision_sums_in_float32(sizes, dtype):
    num_nodes, k = sum(sizes), len(sizes)
    index = ClusterIndex.of(labels_of(sizes, False, torch.Generator()), torch.ones(k, dtype=torch.long))
    x = torch.full((2, num_nodes, 1), 1.0 / 64, dtype=dtype)
    mix = torch.eye(k, dtype=dtype).reshape(k, 1, k, 1)
    own = torch.zeros(k, 1, 1, dtype=dtype)
    sums = pooled_linear(x, own, mix, None, index)[0, :, 0].float()
    expected = torch.repeat_interleave(torch.tensor(sizes), torch.tensor(sizes)) / 64
    torch.testing.assert_close(sums, expected, rtol=0.01, atol=0.0)  # a running sum in bfloat16 stops at 4 = 256 / 64


def test_memory_does_not_grow_with_pairs_of_nodes():
    num_nodes, k = 30_000, 3  # N x N in float32 would take 3.6 GB, N C C' 2 GB
    labels = torch.arange(num_nodes) * 100 // (num_nodes * 100 // k + 1)
    index = ClusterIndex.of(labels, torch.bincount(labels))
    x = torch.ones(1, num_nodes, 128, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        pooled_linear(x, torch.ones(k, 128, 128), torch.ones(k, 128, k, 128), None, index).sum().backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest <= 4 * x.numel() * 4
