"""Two toy tasks whose data are made on demand: the gravity of point masses, and charges that drive each other away.

Definitions are those of Gregory et al. (2023), arXiv:2305.12585, section 7. Signals are stacked: (B, components, N, N).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.plugins.geometric_images.multi import Signature

MASSES, CHARGES = 5, 3
WARM_UP, STEPS = 1, 10
"""Steps of the charges before the input field, and from there to the target."""
SCALE, BOUND = 0.2, 4.0
"""Of the compression of fields of charges."""

Data = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """A regression from images to images on a grid that is no torus.

    Attributes:
        sig_in, sig_out: types of both.
        draw: (num, side, generator) -> inputs and targets, stacked.
    """

    sig_in: Signature
    sig_out: Signature
    draw: Callable[[int, int, torch.Generator | None], Data]


def pixel_places(side: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """The place of every pixel, (N, N, 2).

    Example:
        >>> pixel_places(4)[1, 3]
        tensor([1., 3.], dtype=torch.float64)
    """
    axis = torch.arange(side, dtype=dtype, device=device)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)


def inverse_square(places: Tensor, sources: Tensor, strengths: Tensor) -> Tensor:
    """sum over sources of strength (source - place) / |source - place|^3; a source at the place itself adds nothing.

    Shapes:
        places: (..., 2)    sources: (..., n, 2)    strengths: (..., n), all broadcast    returns: (..., 2)

    References:
        Gregory et al. (2023), arXiv:2305.12585, section 7.1.

    Example:
        >>> there = torch.tensor([[3.0, 4.0], [10.0, 12.0]], dtype=torch.float64)
        >>> inverse_square(torch.tensor([5.0, 5.0], dtype=torch.float64), there, torch.tensor([1.0, 0.5]))
        tensor([-0.1750, -0.0839], dtype=torch.float64)
    """
    away = sources - places[..., None, :]
    distance = torch.linalg.vector_norm(away, dim=-1)
    # The quotient of the place itself is never made, as its gradient would be NaN.
    factor = torch.where(distance > 0, strengths / torch.where(distance > 0, distance, 1.0) ** 3, 0.0)
    return (factor[..., None] * away).sum(-2)


def gravity(num: int, side: int = 16, generator: torch.Generator | None = None) -> Data:
    """Images of five masses on different pixels, the largest one of mass 1, and the field of their gravity.

    Shapes:
        returns: (num, 1, N, N) and (num, 2, N, N)

    Raises:
        ShapeError: no images, or fewer pixels than masses.

    Example:
        >>> x, y = gravity(2)
        >>> (x > 0).sum((1, 2, 3)), x.amax((1, 2, 3)), y.shape
        (tensor([5, 5]), tensor([1., 1.]), torch.Size([2, 2, 16, 16]))
    """
    if num < 1 or side**2 < MASSES:
        raise ShapeError(f"expected num >= 1 and at least {MASSES} pixels, got num = {num} and side = {side}")
    pixels = torch.stack([torch.randperm(side * side, generator=generator)[:MASSES] for _ in range(num)])
    masses = torch.rand(num, MASSES, dtype=torch.float64, generator=generator)
    masses = masses / masses.amax(1, keepdim=True)
    x = torch.zeros(num, side * side, dtype=torch.float64).scatter(1, pixels, masses)
    sources = torch.stack([pixels // side, pixels % side], -1).double()
    y = inverse_square(pixel_places(side), sources[:, None, None], masses[:, None, None])
    return x.reshape(num, 1, side, side).float(), y.movedim(-1, 1).float()


def pushed(charges: Tensor, steps: int = 1, time: float = 1.0) -> Tensor:
    """Each charge moves by ``time`` along the field of the others, ``steps`` times.

    Shapes:
        charges: (..., n, 2)    returns: (..., n, 2)

    Example:
        >>> pushed(torch.tensor([[0.0, 0.0], [0.0, 2.0]], dtype=torch.float64))
        tensor([[ 0.0000, -0.2500],
                [ 0.0000,  2.2500]], dtype=torch.float64)
    """
    for _ in range(steps):
        ones = torch.ones_like(charges[..., 0])
        charges = charges - time * inverse_square(charges, charges[..., None, :, :], ones[..., None, :])
    return charges


def compressed(field: Tensor) -> Tensor:
    """4 (sigmoid(|V| / 0.2) - 1/2) V / |V|: the same directions, norms below 2.

    Shapes:
        field: (..., 2)    returns: (..., 2)

    Example:
        >>> compressed(torch.tensor([30.0, 40.0]))
        tensor([1.2000, 1.6000])
    """
    norm = torch.linalg.vector_norm(field, dim=-1, keepdim=True)
    # Near zero the factor is 1 / SCALE; the quotient would be 0 / 0.
    factor = torch.where(norm > 1e-9, BOUND * (torch.sigmoid(norm / SCALE) - 0.5) / norm.clamp(min=1e-9), BOUND / 4 / SCALE)
    return factor * field


def charge_field(charges: Tensor, side: int = 16) -> Tensor:
    """The compressed field of charges at every pixel.

    Shapes:
        charges: (B, n, 2)    returns: (B, 2, N, N)

    Example:
        >>> charge_field(torch.tensor([[[5.5, 6.25]]])).shape
        torch.Size([1, 2, 16, 16])
    """
    ones, places = torch.ones_like(charges[..., 0]), pixel_places(side, charges.dtype, charges.device)
    field = -inverse_square(places, charges[:, None, None], ones[:, None, None])
    return compressed(field).movedim(-1, 1)


def moving_charges(num: int, side: int = 16, generator: torch.Generator | None = None) -> Data:
    """The compressed field of three charges after a step, and after ten more; they start in the middle half of each axis.

    Shapes:
        returns: (num, 2, N, N) twice

    Raises:
        ShapeError: no images, or no pixels.

    Example:
        >>> [each.shape for each in moving_charges(3)]
        [torch.Size([3, 2, 16, 16]), torch.Size([3, 2, 16, 16])]
    """
    if num < 1 or side < 1:
        raise ShapeError(f"expected num >= 1 and side >= 1, got {num} and {side}")
    start = side / 4 + side / 2 * torch.rand(num, CHARGES, 2, dtype=torch.float64, generator=generator)
    early = pushed(start, WARM_UP)
    return charge_field(early, side).float(), charge_field(pushed(early, STEPS), side).float()


def task(name: str) -> Task:
    """ "gravity" or "charges".

    Raises:
        ConfigError: another name.

    Example:
        >>> task("gravity").sig_in
        Signature(1 x 0(+) in d = 2)
    """
    scalar, vector = Signature(2, {(0, 1): 1}), Signature(2, {(1, 1): 1})
    known = {"gravity": Task(scalar, vector, gravity), "charges": Task(vector, vector, moving_charges)}
    if name not in known:
        raise ConfigError(f"expected a task among {', '.join(known)}, got {name!r}")
    return known[name]
