"""Convolutions with filters as large as the torus, and the words and dtypes that images refuse or take."""

import itertools

import pytest
import torch

from gnet.errors import ConfigError, RepresentationError, ShapeError
from gnet.groups import equivariant_maps
from gnet.plugins.geometric_images import (
    GeometricImage,
    ImageGroup,
    MultiImage,
    Signature,
    correlate,
    count_torus_filters,
    gradient,
    gradient_filter,
    laplacian,
    laplacian_filter,
    torus_filters,
)
from gnet.plugins.geometric_images.convolve import correlate_torus
from tests.plugins.geometric_images.slow import drawn, elements_and_shifts, orthonormal

WHOLE = [(2, N, k, p) for N in (3, 4, 5, 6) for k, p in ((0, 1), (1, 1), (2, -1))] + [(3, 3, 1, 1), (3, 4, 0, 1), (4, 2, 1, 1)]


@pytest.mark.parametrize(("d", "N", "k", "parity"), WHOLE)
def test_torus_filters_make_equivariant_maps(d, N, k, parity, rng):
    filters = torus_filters(d, N, k, parity)
    image = drawn(rng, d, 1 if d == 2 else 0, -1, side=N, lead=(2,))
    found = image.conv(filters, origin="pixel")
    assert (found.leading, found.kind) == ((2, len(filters.data)), (image.k + k, -parity))
    for g, shift in elements_and_shifts(d, rng, 2):
        moved = image.act(g, shift).conv(filters, origin="pixel")
        torch.testing.assert_close(moved.data, found.act(g, shift).data, rtol=0, atol=1e-12)


def test_filters_centred_at_another_pixel_make_none(rng):
    """The liar: the same filters, of odd sides, with the offset 0 in their centre."""
    image, g = drawn(rng, 2, 0, side=5), torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    filters = torus_filters(2, 5, 1)
    assert float((image.act(g).conv(filters).data - image.conv(filters).act(g).data).abs().max()) > 0.1


@pytest.mark.parametrize(("d", "N", "dilation", "stride"), [(2, 4, 1, 1), (2, 4, 3, 2), (2, 5, 2, 1), (3, 2, 1, 1), (4, 2, 1, 1)])
def test_sums_over_the_torus_are_what_the_loops_say(d, N, dilation, stride, rng):
    image, entry = drawn(rng, d, 1, side=N), drawn(rng, d, 1, -1, side=N)
    expected = torch.zeros(*[N] * d, d, d, dtype=torch.float64)
    for offset in itertools.product(range(N), repeat=d):
        moved = image.translate([dilation * a for a in offset]).data  # A(i - a)
        expected += moved[..., :, None] * entry.data[offset][None, :]
    found = image.conv(entry, origin="pixel", dilation=dilation, stride=stride)
    torch.testing.assert_close(found.data, expected[(slice(None, None, stride),) * d])


@pytest.mark.parametrize("N", [3, 4])
def test_torus_filters_make_all_equivariant_maps(N, rng):
    group, scalar, vector = ImageGroup(N), Signature(2, {(0, 1): 1}), Signature(2, {(1, 1): 1})
    filters = torus_filters(2, N, 1)
    units = torch.eye(N * N, dtype=torch.float64).reshape(-1, N, N)
    made = GeometricImage(units, 2).conv(filters, origin="pixel").data  # (pixels, filters, N, N, 2)
    mine = orthonormal(made.permute(1, 4, 2, 3, 0).flatten(1))
    shapes = (1, N, N), (2, N, N)
    maps = orthonormal(equivariant_maps(group, scalar.action(group), vector.action(group), *shapes).flatten(1))
    assert len(maps) == len(mine) == count_torus_filters(2, N, 1)
    torch.testing.assert_close(mine.mT @ mine, maps.mT @ maps, rtol=0, atol=1e-10)


def test_what_is_refused(rng):
    image, filters = drawn(rng, 2, 0, side=4), torus_filters(2, 4, 1)
    with pytest.raises(ShapeError, match=r"as large as the torus, N pixels on each of its sides, got \(4, 4\) for .* \(5, 5\)"):
        drawn(rng, 2, 0, side=5).conv(filters, origin="pixel")
    with pytest.raises(ShapeError, match="N pixels on each"):
        correlate_torus(torch.ones(1, 1, 4, 5), torch.ones(1, 1, 4, 5))
    with pytest.raises(ShapeError, match="those of a torus, and the image is none"):
        drawn(rng, 2, 0, side=4, torus=False).conv(filters, origin="pixel")
    with pytest.raises(ConfigError, match="origin to be one of 'centre', 'pixel', got 'center'; did you mean 'centre'"):
        image.conv(filters, origin="center")
    with pytest.raises(ShapeError, match="a stride on a torus divides its sides"):
        image.conv(filters, origin="pixel", stride=3)
    with pytest.raises(ConfigError, match="about to be one of 'pixel', 'centre', got 'center'"):
        image.act(torch.eye(2), about="center")
    with pytest.raises(ConfigError, match="torus True or False, got 'zero'"):
        GeometricImage(torch.zeros(5, 5), 2, torus="zero")
    with pytest.raises(RepresentationError, match="parity 1 or -1, got 0"):
        ImageGroup(4).image_action(1, 0)
    with pytest.raises(ShapeError, match="order k >= 0, a whole number, got -1"):
        ImageGroup(4).image_action(-1)
    with pytest.raises(ShapeError, match="M <= N, got M = 3"):
        GeometricImage(torch.zeros(0, 5), 2).conv(laplacian_filter(2))
    for make in (laplacian_filter, gradient_filter):
        with pytest.raises(ShapeError, match="a whole number d >= 2, got 1"):
            make(1)
    for derive in (gradient, laplacian):
        with pytest.raises(RepresentationError, match=r"expected an image as GeometricImage.*, got Tensor"):
            derive(torch.zeros(5, 5))
    for start in (1, 1.0, "a"):
        with pytest.raises(RepresentationError, match="one order and parity are added"):
            start + image


def test_complex_filters_keep_their_imaginary_part(rng):
    image, real = drawn(rng, 2, 1, side=5), drawn(rng, 2, 0, side=3, torus=False)
    imaginary = drawn(rng, 2, 0, side=3, torus=False)
    both = real.like(torch.complex(real.data, imaginary.data))
    expected = torch.complex(image.conv(real).data, image.conv(imaginary).data)
    torch.testing.assert_close(image.conv(both).data, expected)
    found = image.to(torch.float32).conv(both)
    assert found.data.dtype == torch.complex64  # the precision of the image stays
    torch.testing.assert_close(found.data, expected.to(torch.complex64), rtol=1e-5, atol=1e-5)
    assert image.to(torch.complex64).conv(real).data.dtype == torch.complex64


def test_sums_and_turns_of_several(rng):
    image, g = drawn(rng, 2, 1, side=4, lead=(2, 3)), torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    many = MultiImage.of(image, drawn(rng, 2, 0, side=4, lead=(2, 1)))
    torch.testing.assert_close(sum([image, image, image]).data, 3 * image.data)
    torch.testing.assert_close(sum([many, many]).stacked(), 2 * many.stacked())
    turned = many.act(g, about="centre")
    assert all(torch.equal(turned[kind].data, each.act(g, about="centre").data) for kind, each in many.items())
    assert not torch.equal(turned.stacked(), many.act(g).stacked())


def test_a_kernel_of_one_side_is_the_same_at_both_origins(rng):
    x, kernel = (torch.randn(2, 2, 5, 5, dtype=torch.float64, generator=rng) for _ in range(2))
    torch.testing.assert_close(correlate_torus(x, kernel.roll((-2, -2), (2, 3))), correlate(x, kernel))
