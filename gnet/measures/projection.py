"""The Reynolds operator: the average over a group of g^-1 f(g x), exact for linear maps and sampled for modules."""

from collections.abc import Callable
from typing import Literal, overload

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, ShapeError
from gnet.groups.base import TRIVIAL_ACTION, Action, Group, NodeGroup
from gnet.groups.laws import require_uniform
from gnet.groups.reynolds import reynolds
from gnet.kernels.segments import cluster_mean
from gnet.measures.equivariance import check_is_group, chosen_elements, images
from gnet.orbits import PairOrbits
from gnet.theory.checks import check_choice, is_whole
from gnet.theory.linear_maps import Output

ENUMERATED = 128
"""Elements up to which a group is averaged over whole unless a number of samples is given."""
DRAWN = 32
"""Elements that are drawn of a larger group."""


class AveragedModule(nn.Module):
    """The function x -> mean over given elements of g^-1 f(g x).

    The elements are fixed when the object is made, so that it is a function; with all elements of a finite group it is exactly
    equivariant, with K random ones its error falls as 1 / sqrt(K).
    """

    def __init__(
        self, f: Callable[[Tensor], Tensor], group: Group, elements: Tensor, action_in: Action, action_out: Action
    ) -> None:
        super().__init__()
        self.f, self.group, self.action_in, self.action_out = f, group, action_in, action_out
        self.register_buffer("elements", elements, persistent=True)

    def forward(self, x: Tensor) -> Tensor:
        """Average."""
        elements: Tensor = self.elements  # type: ignore[assignment]
        total = sum(images(self.f, x, self.group, elements, self.action_in, self.action_out))
        return total / len(elements)  # type: ignore[return-value]


@overload
def project(
    f_or_weight: Tensor,
    group: Group,
    *,
    output: Output = ...,
    action_in: Action | None = ...,
    action_out: Action | None = ...,
) -> Tensor: ...
@overload
def project(
    f_or_weight: Callable[[Tensor], Tensor],
    group: Group,
    *,
    action_in: Action | None = ...,
    action_out: Action | None = ...,
    num_samples: int | Literal["auto"] | None = ...,
    generator: torch.Generator | None = ...,
) -> AveragedModule: ...
def project(  # type: ignore[no-untyped-def]
    f_or_weight,
    group,
    *,
    output="equivariant",
    action_in=None,
    action_out=None,
    num_samples="auto",
    generator=None,
):
    """The average over the group: of a linear map exactly, of any other function element by element.

    A map between signals on nodes is averaged over pair orbits; one between what a group of matrices acts on by the invariants of
    its generators and Lie algebra, so that SO(3) is as exact as a finite group.

    Where inputs are distributed invariantly and the action is orthogonal this is the orthogonal projection onto equivariant
    functions; otherwise the result is equivariant but not the nearest one.

    Args:
        f_or_weight: a linear map, or any function or module.
        output: of a linear map, "equivariant" or "invariant".
        action_in, action_out: of the group on what a function takes and returns; None is the group's own.
        num_samples: elements in the average of a function: so many random ones, None for all of a group of up to 10 000, "auto"
            for all of up to ``ENUMERATED`` and ``DRAWN`` random ones of larger groups. Each is one call of the function.
        generator: of the random ones.

    Shapes:
        a map (N, N) or (N, C', N, C), receiver first; with ``output="invariant"`` a theta (N,) or (N, C); for other groups a map
        (n', n) of flat signals, with ``output="invariant"`` a theta (n,); or any function

    Units: those of the map, or of what the function returns.

    Raises:
        ShapeError: a tensor that is none of these, or what is neither tensor nor function.
        GroupError: no group; a tensor with one of which neither nodes, generators nor a Lie algebra are known.
        NotFiniteError: ``num_samples=None`` with more than 10 000 elements.
        NotCompactError: a group without a uniform law; of a function over drawn elements one may be chosen (``sampled_by``).
        ConfigError: an unknown ``output``, or num_samples that is no whole number >= 1.

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333.

    Example:
        >>> project(torch.diag(torch.tensor([1.0, 3.0])), SymmetricGroup(2))
        tensor([[2., 0.],
                [0., 2.]])
        >>> project(torch.tensor([1.0, 3.0]), SymmetricGroup(2), output="invariant")
        tensor([2., 2.])
        >>> averaged = project(lambda x: x * torch.tensor([[1.0], [3.0]]), SymmetricGroup(2))  # both elements
        >>> averaged(torch.ones(1, 2, 1)).flatten()
        tensor([2., 2.])
    """
    check_choice("output", output, Output)
    check_is_group(group)
    is_function = not isinstance(f_or_weight, Tensor)
    require_uniform(group, "the average over a group", is_drawn=is_function and num_samples is not None)
    if not isinstance(f_or_weight, Tensor):
        if not callable(f_or_weight):
            raise ShapeError(
                f"expected a tensor or a function, got {type(f_or_weight).__name__}; convert with torch.as_tensor(...)"
            )
        if num_samples == "auto":
            is_listed = group.order() == 1 or (group.order() <= ENUMERATED and len(group.generators) > 0)
            num_samples = None if is_listed else DRAWN
        if num_samples is not None and not is_whole(num_samples, 1):
            raise ConfigError(f"expected a whole num_samples >= 1, None for all elements, or 'auto', got {num_samples!r}")
        elements = chosen_elements(group, num_samples, generator)
        return AveragedModule(f_or_weight, group, elements, action_in or group.action, action_out or group.action)
    if not isinstance(group, NodeGroup):
        return reynolds(f_or_weight, group, action_in, TRIVIAL_ACTION if output == "invariant" else action_out)
    if output == "equivariant":
        return PairOrbits.of(group).mean(f_or_weight)
    if f_or_weight.ndim not in (1, 2) or len(f_or_weight) != group.degree:
        raise ShapeError(f"expected an invariant theta ({group.degree},) or ({group.degree}, C), got {tuple(f_or_weight.shape)}")
    theta = f_or_weight if f_or_weight.ndim == 2 else f_or_weight[:, None]
    orbits = group.node_orbits()
    return cluster_mean(theta, orbits.labels, orbits.num_clusters)[orbits.labels].reshape(f_or_weight.shape)
