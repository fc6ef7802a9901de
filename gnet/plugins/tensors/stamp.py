"""What the weights of a layer mean, in its state: the group, the types, and a check of the bases they are coefficients in."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gnet.errors import CheckpointError
from gnet.groups import GeneratedGroup
from gnet.groups.closure import keys
from gnet.plugins.tensors.reps import Regular, Rep

KEY = "_extra_state"
NEAR = 1e-6
"""Difference of sketches, relative, above which bases count as others; rounding leaves 1e-13."""


class Stamped(nn.Module):
    """A layer whose state says of which group, types and bases its weights are, and that loads no other.

    The stamp is text, in bytes, so that whatever copies a state of tensors copies it.
    """

    def make_stamp(self) -> dict[str, Any]:
        """``stamp_of`` the group, the types, and the bases if there are any."""
        raise NotImplementedError

    @cached_property
    def _stamp(self) -> dict[str, Any]:
        return self.make_stamp()  # of large bases not at every call

    def get_extra_state(self) -> Tensor:
        """The stamp, as ``load_state_dict`` compares it."""
        return torch.tensor(list(json.dumps(self._stamp).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Compare with the stamp of a state.

        Raises:
            CheckpointError: another group, other types, or other bases.
        """
        try:
            given = json.loads(bytes(state.cpu().tolist()))
            what, digest, bases = f"{given['types']} of {given['group']}", given["digest"], given["bases"]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise CheckpointError(f"expected the stamp of a {type(self).__name__} in {KEY}, got {state!r:.80}") from None
        own = self._stamp
        expected = f"{own['types']} of {own['group']}"
        if digest != own["digest"]:
            which = " with other generators" if what == expected else ""
            raise CheckpointError(f"expected a state of {expected}, got one of {what}{which}; make the layer as it was saved")
        if len(bases) != len(own["bases"]) or any(
            abs(a - b) > NEAR * (1 + abs(b)) for a, b in zip(bases, own["bases"], strict=True)
        ):
            raise CheckpointError(f"the state of {what} has its weights in other bases than this version finds; train it again")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        mine = [name for name, _ in self.named_parameters() if f"{prefix}{name}" in state_dict]
        if mine and f"{prefix}{KEY}" not in state_dict:
            raise CheckpointError(
                f"expected the group, types and bases of {prefix}{mine[0]} in {prefix}{KEY}, got none: weights of earlier "
                "versions are coefficients in bases that differed from machine to machine; train again"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


def stamp_of(group: GeneratedGroup, *types: Rep, bases: Sequence[Tensor] = ()) -> dict[str, Any]:
    """What a layer between types is, to be compared; matrices count to 1e-6, names do not count.

    Example:
        >>> from gnet.plugins.tensors import Lorentz, SO, T
        >>> one, other = (stamp_of(group, T(1), T(1)) for group in (SO(3), Lorentz(2)))
        >>> one["group"], one["types"], one["digest"] == other["digest"]
        ('SO(3)', 'T(1) -> T(1)', False)
    """
    parts = [[(n, part.p, part.q, isinstance(part, Regular)) for n, part in rep.canonical(group).parts] for rep in types]
    found = hashlib.sha256(f"{group.dim} {group.dtype} {parts}".encode())
    for matrices in (group.generators, group.lie_algebra):
        found.update(b"".join([b"|", *keys(matrices)]))
    names = " -> ".join(rep.name for rep in types)
    return {
        "group": group.name,
        "types": names,
        "digest": found.hexdigest()[:16],
        "bases": [float(f"{sketch(basis):.9e}") for basis in bases],
    }


def sketch(basis: Tensor) -> float:
    """A number that changes with a basis: of signs, order or directions, and not of rounding.

    Shapes:
        basis: (r, ...), real

    Example:
        >>> one = torch.eye(2, dtype=torch.float64)
        >>> len({round(sketch(each), 6) for each in (one, -one, one.flip(0), one + 1e-12)})
        3
    """
    rows = basis.flatten(1)
    places = torch.arange(rows.shape[1], dtype=rows.dtype)
    # Multiples of 1 and of the root of 2, which no basis is made of.
    return float(torch.cos(1 + torch.arange(len(rows), dtype=rows.dtype)) @ (rows @ torch.cos(places * 2**0.5)))
