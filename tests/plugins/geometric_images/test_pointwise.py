"""Tensors of largest norm: up to rounding, at every size."""

import pytest
import torch

from gnet.plugins.geometric_images import GeometricImage, invariant_filters
from gnet.plugins.geometric_images.pointwise import are_largest, slack
from gnet.plugins.tensors import B


def pooled_by(image, largest):
    """The max pool of 2 x 2 blocks of vectors whose largest tensors another function tells."""
    blocks = image.data.unflatten(1, (-1, 2)).unflatten(0, (-1, 2)).movedim(1, 2).flatten(2, 3)
    which = largest(blocks)[..., None]
    return image.like((blocks * which).sum(2) / which.sum(2))


def exactly(blocks):
    """The liar: norms that differ in the last bit are two."""
    size = blocks.square().sort(-1).values.sum(-1)
    return size == size.amax(-1, keepdim=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_max_pools_of_a_convolution_turn_with_a_symmetric_image(dtype, rng):
    """All four pixels of the middle have one norm, of which rounding would choose one."""
    place = torch.arange(6, dtype=torch.float64) - 2.5
    image = GeometricImage((-(place[:, None] ** 2 + place**2) / 3).exp().to(dtype), 2, torus=False)
    filters = invariant_filters(2, 5, 1)
    weights = torch.randn(len(filters.data), 1, 1, 1, dtype=torch.float64, generator=rng)
    made = image.conv(filters.like((filters.data * weights).sum(0)))

    def error(pool):
        turned = ((pool(image.act(g).conv(filters.like((filters.data * weights).sum(0)))), g) for g in B(2).elements())
        return max(float((one.data - pool(made).act(g).data).abs().max()) for one, g in turned) / float(made.data.abs().max())

    assert error(lambda each: each.pool(2, "max")) < 1e2 * torch.finfo(dtype).eps
    assert error(lambda each: pooled_by(each, are_largest)) < 1e2 * torch.finfo(dtype).eps
    assert error(lambda each: pooled_by(each, exactly)) > 0.01


def test_the_largest_is_found_at_every_size():
    for dtype, sizes in (
        (torch.float32, (1e-40, 1e-24, 1.0, 1e30)),
        (torch.float64, (1e-300, 1e300)),
        (torch.float16, (1.0, 1e4)),
    ):
        for size in sizes:
            data = size * torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=dtype)
            assert torch.equal(GeometricImage(data, 2).pool(2, "max").data, data[1:, 1:])
    inf = torch.tensor([[1.0, torch.inf], [2.0, 3.0]])
    assert GeometricImage(inf, 2).pool(2, "max").data.item() == torch.inf
    assert GeometricImage(torch.zeros(2, 2), 2).pool(2, "max").data.item() == 0.0


def test_norms_are_told_apart_where_rounding_does_not_make_the_difference():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        near, far = 1 + slack(dtype) / 8, 1 + 2 * slack(dtype)
        for other, count in ((near, 2), (far, 1)):
            assert int(are_largest(torch.tensor([[1.0, 0.0], [0.0, other]], dtype=dtype)).sum()) == count
