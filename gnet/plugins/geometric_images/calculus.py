"""Derivatives as convolutions with invariant filters: gradient, divergence, curl, Laplacian, by central differences.

The signs are those of a convolution, (A * C)(i) = sum of A(i - a) C(a): the gradient filter points against its offset.
"""

import math
from typing import Literal

import torch

from gnet.counts import is_count
from gnet.errors import ConfigError, ShapeError
from gnet.plugins.geometric_images.images import GeometricImage, check_image


def gradient_filter(d: int, h: float = 1.0) -> GeometricImage:
    """C(+-e_j) = -+ e_j / (2 h), an invariant vector filter of side 3.

    Raises:
        ConfigError: h is no positive number.
        ShapeError: d < 2.

    Example:
        >>> gradient_filter(2, 0.5).data[2, 1]
        tensor([-1.,  0.], dtype=torch.float64)
    """
    _check_distance(h)
    if not is_count(d, 2):
        raise ShapeError(f"expected a whole number d >= 2, got {d!r}")
    data = torch.zeros(*[3] * d, d, dtype=torch.float64)
    for axis in range(d):
        for step in (-1, 1):
            offset = [1] * d
            offset[axis] += step
            data[(*offset, axis)] = -step / (2 * h)
    return GeometricImage(data, d, 1, torus=False)


def _check_distance(h: float) -> None:
    if not 0 < h < math.inf:
        raise ConfigError(f"expected a distance h > 0 of two pixels, got {h!r}")


def laplacian_filter(d: int, h: float = 1.0, kind: Literal["star", "box"] = "star") -> GeometricImage:
    """-2 d at the centre and 1 at its 2 d neighbours, over h^2; "box" is -20, 4 and 1 at the corners, over 6 h^2, in d = 2.

    Raises:
        ConfigError: a box in d > 2, or another word, or h is no positive number.
        ShapeError: d < 2.

    Example:
        >>> laplacian_filter(2).data
        tensor([[ 0.,  1.,  0.],
                [ 1., -4.,  1.],
                [ 0.,  1.,  0.]], dtype=torch.float64)
    """
    _check_distance(h)
    if not is_count(d, 2):
        raise ShapeError(f"expected a whole number d >= 2, got {d!r}")
    if kind not in ("star", "box") or (kind == "box" and d != 2):
        raise ConfigError(f"expected kind 'star', or 'box' in d = 2, got {kind!r} in d = {d}")
    if kind == "box":
        rows = [[1.0, 4.0, 1.0], [4.0, -20.0, 4.0], [1.0, 4.0, 1.0]]
        return GeometricImage(torch.tensor(rows, dtype=torch.float64) / (6 * h * h), d, torus=False)
    distance = (torch.cartesian_prod(*[torch.arange(3) - 1] * d)).abs().sum(1).reshape([3] * d)
    data = (distance == 1).double() - 2 * d * (distance == 0).double()
    return GeometricImage(data / (h * h), d, torus=False)


def curl_filter(h: float = 1.0) -> GeometricImage:
    """In d = 2 the invariant pseudovector filter whose contraction with a vector image is d_x u_y - d_y u_x.

    Example:
        >>> curl_filter().kind
        (1, -1)
    """
    return gradient_filter(2, h).levi_civita(0)


def gradient(image: GeometricImage, h: float = 1.0) -> GeometricImage:
    """d_j A, the derivative's index last: order k + 1.

    Args:
        h: distance of two pixels.

    Raises:
        RepresentationError: no image, here and in what follows.

    Example:
        >>> ramp = torch.arange(5.0)[:, None].expand(5, 5)
        >>> gradient(GeometricImage(ramp, 2, torus=False)).data[2, 2]
        tensor([1., 0.])
    """
    check_image(image, "an image")
    return image.conv(gradient_filter(image.d, h))


def divergence(image: GeometricImage, h: float = 1.0) -> GeometricImage:
    """d_j A_{... j}, of the last index: order k - 1.

    Raises:
        ShapeError: an image without indices.

    Example:
        >>> place = torch.stack(torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij"), -1)
        >>> divergence(GeometricImage(place, 2, 1, torus=False)).data[2, 2]
        tensor(2.)
    """
    check_image(image, "an image")
    if not image.k:
        raise ShapeError("a scalar image has no divergence")
    return gradient(image, h).contract(image.k - 1, image.k)


def curl(image: GeometricImage, h: float = 1.0) -> GeometricImage:
    """The Levi-Civita symbol with the derivative and the last index: in d = 2 d_x u_y - d_y u_x, in d = 3 a pseudovector.

    Raises:
        ShapeError: an image without indices.

    Example:
        >>> x, y = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
        >>> curl(GeometricImage(torch.stack([-y, x], -1), 2, 1, torus=False)).data[2, 2]
        tensor(2.)
    """
    check_image(image, "an image")
    if not image.k:
        raise ShapeError("the curl takes an image of vectors or tensors; of a scalar take gradient(image).levi_civita(0)")
    return gradient(image, h).levi_civita(image.k, image.k - 1)


def laplacian(image: GeometricImage, h: float = 1.0, kind: Literal["star", "box"] = "star") -> GeometricImage:
    """The Laplacian of every component.

    Example:
        >>> x = torch.arange(5.0)[:, None].expand(5, 5)
        >>> laplacian(GeometricImage(x**2, 2, torus=False)).data[2, 2]
        tensor(2.)
    """
    check_image(image, "an image")
    return image.conv(laplacian_filter(image.d, h, kind))
