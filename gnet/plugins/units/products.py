"""Products of powers of numbers, with their signs: what every function that changes of units carry along is made of."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gnet.errors import CheckpointError, DegenerateInputError, ShapeError


class Products(nn.Module):
    """Products of powers, z_j = prod_i x_i^E_ji, with their signs; through logarithms, so that no factor overflows.

    Numbers are computed in float32 at least, under autocast too, and returned in the dtype of x; integers become floats. What a
    product does not use may be infinite or NaN. Exponents stay exact whatever dtype the module is cast to; checkpoints hold them,
    and those of other exponents are refused.

    Args:
        exponents: one row for each product; halves and thirds are for positive x.

    Shapes:
        x: (..., n)    returns: (..., m)

    Raises:
        ShapeError: other than n numbers.
        DegenerateInputError: zero under a negative exponent, or below zero under a fraction, with the number of the input.
        CheckpointError: (when loaded) exponents that are others.

    Example:
        >>> Products([[1, -2], [2, 0]])(torch.tensor([[-12.0, 2.0]]))
        tensor([[ -3., 144.]])
    """

    def __init__(self, exponents: Tensor | Sequence[Sequence[Any]]) -> None:
        super().__init__()
        if not isinstance(exponents, Tensor):
            exponents = torch.tensor([[float(each) for each in row] for row in exponents], dtype=torch.float64)
        self.register_buffer("exponents", exponents.double(), persistent=False)
        self.has_fractions = bool((self.exponents != self.exponents.round()).any())

    exponents: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        x, wide = self._checked(x)
        with torch.autocast(x.device.type, enabled=False):
            is_zero = wide == 0
            powers = self.exponents.to(wide)
            size = self._weighted(torch.where(is_zero, 1, wide).abs().log(), powers).exp()
            if bool(is_zero.any()):  # logarithms have no gradient there
                base = torch.where(is_zero[..., None, :] & (powers > 0), wide[..., None, :], 1)
                size = size * (base**powers).prod(-1)
            if bool((wide < 0).any()):
                odd = (powers % 2 == 1).to(wide)
                size = size * (1 - 2 * ((wide < 0).to(wide) @ odd.mT % 2))
        return size.to(x.dtype)

    def logarithms(self, x: Tensor) -> Tensor:
        """ln |z|.

        Raises:
            DegenerateInputError: an input is zero.

        Example:
            >>> Products([[1, -2]]).logarithms(torch.tensor([[-4.0, 2.0]])).abs()
            tensor([[0.]])
        """
        x, wide = self._checked(x)
        is_used = (self.exponents != 0).any(0)
        if bool(((x == 0) & is_used).any()):
            raise DegenerateInputError(f"expected no zeros, whose logarithm is infinite, got one in {_where((x == 0) & is_used)}")
        with torch.autocast(x.device.type, enabled=False):
            logs = torch.where(is_used, wide, 1).abs().log()
            return self._weighted(logs, self.exponents.to(wide)).to(x.dtype)

    def features(self, x: Tensor, log: bool = False, signs: bool = False) -> Tensor:
        """What a regressor sees: z or ln |z|, and with ``signs`` those of x behind, (..., n) -> (..., m) or (..., m + n).

        Raises:
            DegenerateInputError: a number below zero whose sign logarithms alone would lose.

        Example:
            >>> Products([[1, 1]]).features(torch.tensor([[-1.0, 2.0]]), signs=True)
            tensor([[-2., -1.,  1.]])
        """
        if log:
            self.check_signs(x, signs)
        found = self.logarithms(x) if log else self(x)
        return torch.cat([found, x.sign().to(found)], -1) if signs else found

    def check_signs(self, x: Tensor, signs: bool = False) -> None:
        """Refuse numbers below zero whose sign logarithms would lose.

        Args:
            signs: they are seen elsewhere.

        Raises:
            DegenerateInputError: a number below zero under an exponent that is not even.

        Example:
            >>> Products([[2, 1]]).check_signs(torch.tensor([[-1.0, 2.0]]))
        """
        if not signs and bool(((x < 0) & (self.exponents % 2 != 0).any(0)).any()):
            raise DegenerateInputError("logarithms do not see that an input is negative; take signs=True, or log=False")

    def get_extra_state(self) -> Tensor:
        """The exponents, exactly: what ``load_state_dict`` compares."""
        return self.exponents.cpu()

    def set_extra_state(self, state: Tensor) -> None:
        """Compare with what a checkpoint holds; 1/3 may have been rounded in one of bfloat16.

        Raises:
            CheckpointError: other exponents.
        """
        given, own = state.double().cpu(), self.exponents.cpu()
        if given.shape != own.shape or not torch.allclose(given, own, rtol=0.0, atol=0.01):
            expected, got = own.tolist(), given.tolist()
            raise CheckpointError(f"expected a checkpoint of products {expected}, got {got}: inputs or outputs have other units")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}exponents" in state_dict:  # as written before exponents were kept apart from weights
            state_dict[f"{prefix}_extra_state"] = state_dict.pop(f"{prefix}exponents")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Products":
        kept = self.exponents
        super()._apply(fn, recurse)
        self.exponents = kept.to(self.exponents.device)  # of the cast only the device: a third in bfloat16 is .334
        return self

    def _weighted(self, logs: Tensor, powers: Tensor) -> Tensor:
        """Sums of logarithms with the exponents as weights; those with none are left out, even if they are infinite."""
        if bool(logs.isfinite().all()):
            return logs @ powers.mT
        return torch.where(powers != 0, logs[..., None, :] * powers, 0).sum(-1)

    def _checked(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x as floats, and with at least 32 bits."""
        n, exponents = self.exponents.shape[1], self.exponents
        if x.shape[-1:] != (n,):
            raise ShapeError(f"expected x of shape (..., {n}), got {tuple(x.shape)}")
        if not x.is_floating_point():
            x = x.to(torch.get_default_dtype())
        wrong = (x == 0) & (exponents < 0).any(0)
        if bool(wrong.any()):
            raise DegenerateInputError(f"expected no zero under a negative exponent, got one in {_where(wrong)}")
        if self.has_fractions:
            wrong = (x < 0) & (exponents != exponents.round()).any(0)
            if bool(wrong.any()):
                raise DegenerateInputError(f"expected no negative number under a fractional exponent, got one in {_where(wrong)}")
        return x, x.to(torch.promote_types(x.dtype, torch.float32))


def _where(wrong: Tensor) -> str:
    return f"input {int(wrong.nonzero()[0, -1])}"
