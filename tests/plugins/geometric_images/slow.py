"""Slow and obviously right: pixel by pixel, offset by offset."""

import itertools

import torch

from gnet.plugins.geometric_images import GeometricImage
from gnet.plugins.tensors import B


def drawn(generator, d=2, k=0, parity=1, side=5, lead=(), torus=True):
    """A random image, float64."""
    data = torch.randn(*lead, *[side] * d, *[d] * k, dtype=torch.float64, generator=generator)
    return GeometricImage(data, d, k, parity, torus)


def elements_and_shifts(d, generator, num=4):
    """Generators of B(d), random elements, and a shift for each."""
    matrices = [*B(d).generators, *B(d).sample(num, generator)]
    return [(g, torch.randint(-7, 8, (d,), generator=generator).tolist()) for g in matrices]


def slow_act(image, g):
    """(g A)(i) = g . A(g^-1 i) by loops; about pixel 0 of a torus, about the centre otherwise."""
    d, k, n = image.d, image.k, image.pixels[0]
    found = torch.zeros_like(image.data)
    for place in itertools.product(range(n), repeat=d):
        at = torch.tensor(place, dtype=torch.float64)
        if image.torus:
            source = (g.T @ at) % n
        else:
            source = g.T @ (at - (n - 1) / 2) + (n - 1) / 2
        tensor = image.data[tuple(int(s) for s in source.round())]
        for axis in range(k):
            tensor = torch.tensordot(g, tensor.movedim(axis, 0), dims=1).movedim(0, axis)
        found[place] = tensor * (torch.linalg.det(g).round() if image.parity < 0 else 1)
    return image.like(found)


def slow_conv(image, one_filter, dilation=1):
    """sum over offsets of A(i - a) x C(a) by loops; one image, one filter."""
    d, n, m = image.d, image.pixels[0], one_filter.pixels[0] // 2
    found = torch.zeros(*image.pixels, *[d] * (image.k + one_filter.k), dtype=image.data.dtype)
    for place in itertools.product(range(n), repeat=d):
        for offset in itertools.product(range(-m, m + 1), repeat=d):
            source = [i - dilation * a for i, a in zip(place, offset, strict=True)]
            if image.torus:
                source = [s % n for s in source]
            elif not all(0 <= s < n for s in source):
                continue
            entry = one_filter.data[tuple(a + m for a in offset)]
            found[place] += torch.tensordot(image.data[tuple(source)], entry, dims=0)
    return image.like(found, image.k + one_filter.k, image.parity * one_filter.parity)


def orthonormal(filters):
    """An orthonormal basis of the span of filters, in rows."""
    flat = filters.flatten(1)
    if not len(flat):
        return flat
    _, values, vectors = torch.linalg.svd(flat, full_matrices=False)
    return vectors[values > 1e-9 * values[0]]


def spoil(layer, shift=None):
    """A liar of a convolution: the numbers of its filters are moved by one place, or the first one is another."""
    exact = layer._values.exact.clone()
    layer._values.exact = exact + (torch.arange(len(exact)) == 0) if shift is None else exact.roll(shift)
    layer._values.rounded = layer._values.exact.to(layer._values.rounded)
