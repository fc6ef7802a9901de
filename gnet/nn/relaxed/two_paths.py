"""A symmetric module and a free one beside it, of any group and any actions: residual pathways for modules."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.groups.base import Action, Group
from gnet.nn.modes import evaluating
from gnet.nn.relaxed.base import check_at_least
from gnet.nn.relaxed.moving import measured_error, squared
from gnet.nn.relaxed.residual import check_sigma


class Relaxed(nn.Module):
    """``y = f(x) + w u(x)``: an equivariant module f, and beside it a free one u of the same shapes.

    Any group with any linear actions will do, of matrices or of nodes, and any modules; linear maps of a group of nodes are
    ``ResidualPathway``, which has its distance from the group in closed form. f drops out of every error: that of the sum at g,
    g^-1 y(g x) - y(x), is w times that of u, so that the mean square is w^2 times that of u, and w = 0 is exactly the group.

    The penalty is |parameters of f|^2 / (2 sigma_a^2) + |parameters of u|^2 / (2 sigma_b^2), that of Gaussian priors on the
    weights and biases of both, and does not depend on w. For layers whose weights are coefficients in an orthonormal basis
    (``RepLinear`` of the tensors, ``nn.Linear``) it is that of the entries of the maps. It is added to the loss as it is.

    Args:
        equivariant: f; that it commutes with the group is not checked here (``gnet.testing.check_layer`` does).
        free: u, any module.
        w: the start of ``strength``.
        group, action_in, action_out: what ``equivariance_error`` is about; None takes those of ``equivariant`` (its attributes
            of these names), and where it has none the group's own actions.
        sigma: (sigma_a, sigma_b), the widths of the priors; inf (or None) is none. A small sigma_b pulls towards the group.

    Attributes:
        strength: a buffer that holds w. ``gnet.training.Anneal`` moves it during a fit.

    Shapes:
        x: whatever both take    returns: what both return, of one shape

    Raises:
        ConfigError: w < 0 or not finite, a sigma <= 0, or what is no module.
        GroupError: what is no group; (of ``equivariance_error``) no group was given, and ``equivariant`` knows none.
        ShapeError: (in use) outputs of different shapes, which would be broadcast.

    References:
        Finzi, Benton and Wilson (2021), arXiv:2112.01388.

    Example:
        >>> from gnet.plugins.tensors import RepLinear, SO, T
        >>> net = Relaxed(RepLinear(2 * T(1), T(2), SO(3)), nn.Linear(6, 9), 0.5, sigma=(None, 0.1))
        >>> x = torch.randn(50, 6)
        >>> net, net(x).shape, net.equivariance_error(x) > 0.01
        (Relaxed(RepLinear + 0.5 Linear | SO(3)), torch.Size([50, 9]), True)
        >>> _ = net.strength.fill_(0.0)
        >>> net.equivariance_error(x) < 1e-5
        True
    """

    strength: Tensor

    def __init__(
        self,
        equivariant: nn.Module,
        free: nn.Module,
        w: float = 1.0,
        *,
        group: Group | None = None,
        action_in: Action | None = None,
        action_out: Action | None = None,
        sigma: Sequence[float | None] = (math.inf, math.inf),
    ) -> None:
        super().__init__()
        for name, part in (("equivariant", equivariant), ("free", free)):
            if not isinstance(part, nn.Module):
                raise ConfigError(f"expected {name} as a module, got {type(part).__name__}; wrap a function in an nn.Module")
        check_at_least(0.0, w=w)
        self.sigma = check_sigma(sigma)
        self.equivariant, self.free = equivariant, free
        self.group: Group | None = getattr(equivariant, "group", None) if group is None else group
        if self.group is not None and not isinstance(self.group, Group):
            raise GroupError(f"expected a group, got {type(self.group).__name__}")
        self.action_in: Action | None = action_in or getattr(equivariant, "action_in", None)
        self.action_out: Action | None = action_out or getattr(equivariant, "action_out", None)
        self.register_buffer("strength", torch.tensor(float(w)))

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        """Apply both and add."""
        y, free = self.equivariant(x, *others, **named), self.free(x, *others, **named)
        if y.shape != free.shape:
            raise ShapeError(
                f"expected both parts to return one shape, got {tuple(y.shape)} of the equivariant and "
                f"{tuple(free.shape)} of the free one"
            )
        return y + self.strength.to(free.real.dtype if free.is_complex() else free.dtype) * free

    def penalty(self) -> Tensor:
        """|parameters of f|^2 / (2 sigma_a^2) + |parameters of u|^2 / (2 sigma_b^2); 0-dim."""
        total = self.strength.new_zeros(())
        for part, width in zip((self.equivariant, self.free), self.sigma, strict=True):
            if width < math.inf:
                for p in part.parameters():
                    total = total + squared(p).sum() / (2 * width**2)
        return total

    def equivariance_error(
        self, x: Tensor, *others: Any, num_samples: int = 32, generator: torch.Generator | None = None, **named: Any
    ) -> float:
        """Measured, in evaluation: sqrt(E ||g^-1 y(g x) - y(x)||^2 / E ||y(x)||^2) over random elements of the group."""
        if self.group is None:
            kind = type(self.equivariant).__name__
            raise GroupError(f"expected a group to measure by, and {kind} has none; write Relaxed(..., group=group)")
        with evaluating(self):
            return measured_error(
                self,
                x,
                others,
                self.group,
                self.action_in,
                self.action_out,
                named=named,
                num_samples=num_samples,
                generator=generator,
            )

    def __repr__(self) -> str:
        parts = f"{type(self.equivariant).__name__} + {float(self.strength):g} {type(self.free).__name__}"
        return f"Relaxed({parts} | {self.group.name if self.group else 'no group'})"
