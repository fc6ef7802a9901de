"""Vegetation over time: explicit Euler steps of many sets of parameters at once."""

import sys
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from tqdm import tqdm

from gnet.errors import ConfigError, ConvergenceError, DegenerateInputError, ShapeError
from gnet.plugins.vegetation.model import Rietkerk

CELLS = 1 << 15
"""Most cells that are stepped at once: three fields and their buffers stay in a core's cache."""
REPORT = 200
"""Steps between two updates of the progress bar, and between two looks for values that are not finite."""


def solve(model: Rietkerk, start: Tensor, at: Sequence[int] | None = None, *, progress: bool = False) -> Tensor:
    """The states after so many steps of dt, by explicit Euler steps with the Laplacian of five cells.

    Shapes:
        start: (B, 3, n, n), or (1, 3, n, n) for all    returns: (len(at), B, 3, n, n) float64

    Args:
        model: sets of parameters.
        start: the first state.
        at: steps after which states are kept, ascending; by default the last step, T / dt.
        progress: whether a bar shows on a terminal how far it came.

    Raises:
        ConvergenceError: dt is longer than dl^2 / (4 max D), where diffusion is stable, or the state does not stay finite.
        ConfigError: ``at`` does not ascend from 0 or more.
        ShapeError: a start of another shape.
        DegenerateInputError: a start with NaN or infinity.

    Example:
        >>> model = Rietkerk(L=32.0, R=torch.tensor([0.375, 0.6]))
        >>> start = model.start(torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) < 0.1)
        >>> solve(model, start, [0, 100]).shape
        torch.Size([2, 2, 3, 16, 16])
    """
    at = [model.num_steps] if at is None else list(at)
    n, batch = model.num_cells, len(model)
    if not at or at[0] < 0 or any(a >= b for a, b in pairwise(at)):
        raise ConfigError(f"expected steps that ascend from 0 or more, got {at}")
    if start.shape not in ((batch, 3, n, n), (1, 3, n, n)):
        raise ShapeError(f"expected a start ({batch}, 3, {n}, {n}), got {tuple(start.shape)}")
    if not bool(start.isfinite().all()):
        raise DegenerateInputError("expected a finite start, got NaN or infinity")
    if bool((model["dt"] > model.step_bound() * (1 + 1e-12)).any()):
        worst = int((model["dt"] / model.step_bound()).argmax())
        raise ConvergenceError(
            f"explicit diffusion is unstable: expected dt <= dl^2 / (4 max D) = {float(model.step_bound()[worst]):.6g}, got dt ="
            f" {float(model['dt'][worst]):.6g}; take a shorter dt or larger cells"
        )
    found = torch.empty(len(at), batch, 3, n, n, dtype=torch.float64)
    size = max(1, CELLS // n**2)
    bar = tqdm(
        total=at[-1] * batch, desc="vegetation", unit="step", unit_scale=True, disable=None if progress else True, file=sys.stderr
    )
    with bar, torch.no_grad():
        for first in range(0, batch, size):
            rows = slice(first, min(first + size, batch))
            stepper = _Stepper(Rietkerk.of(model.inputs[rows]), start.expand(batch, -1, -1, -1)[rows])
            for place, step in enumerate(at):
                _advance(stepper, step, bar)
                found[place, rows] = stepper.state()
    return found


def _advance(stepper: "_Stepper", until: int, bar: "tqdm") -> None:
    while stepper.done < until:
        steps = min(REPORT, until - stepper.done)
        stepper.run(steps)
        bar.update(steps * stepper.batch)
        if not bool(stepper.cells.isfinite().all()):
            raise ConvergenceError(f"the state did not stay finite within {stepper.done} steps; take a shorter dt")


class _Stepper:
    """Buffers with a rim of cells, so that neighbours on the torus are one shift away in memory.

    Rows of a run lie one after the other with both rims. All steps are on the rows without the first and last one, rims on the
    left and right included: what they hold is written over by ``_wrap``.
    """

    def __init__(self, model: Rietkerk, start: Tensor) -> None:
        self.done, self.batch, n = 0, len(model), model.num_cells
        self.n, self.width = n, n + 2
        self.cells = torch.zeros(3, self.batch, self.width, self.width, dtype=torch.float64)
        self.cells[:, :, 1:-1, 1:-1] = start.movedim(1, 0)
        flat, length = self.cells.reshape(3, self.batch, -1), n * self.width
        shifts = (0, -1, 1, -self.width, self.width)
        self.here, *self.near = (flat[..., self.width + shift :][..., :length] for shift in shifts)
        self.sums, self.soaked, self.drunk = torch.empty_like(self.here), *torch.empty(2, self.batch, length).double()
        p = {name: model[name][:, None] for name in ("R", "alpha", "k2", "W0", "gm", "k1", "c", "dt")}
        spread = torch.stack([model[name] for name in ("Du", "Dw", "Dv")]) * model["dt"] / model["dl"] ** 2
        loss = torch.stack([model["dw"], model["dw"], model["dv"]]) * model["dt"]
        self.spread, self.loss = spread[..., None], loss[1:, :, None]
        self.rain, self.k1, self.k2 = p["dt"] * p["R"], p["k1"], p["k2"]
        self.soak, self.less = p["dt"] * p["alpha"], p["dt"] * p["alpha"] * p["k2"] * (1 - p["W0"])
        self.uptake, self.growth = p["dt"] * p["gm"], p["dt"] * p["gm"] * p["c"]

    def run(self, steps: int) -> None:
        """So many steps, in place; operations are few and fused, since memory is what they cost."""
        (u, w, v), (left, right, above, below) = self.here, self.near
        for _ in range(steps):
            self._wrap()
            torch.add(above, below, out=self.sums)
            self.sums.add_(left).add_(right)
            torch.add(v, self.k2, out=self.drunk)
            torch.addcdiv(self.soak, self.less, self.drunk, value=-1, out=self.soaked).mul_(u)  # alpha dt f u
            torch.add(w, self.k1, out=self.drunk)
            torch.div(w, self.drunk, out=self.drunk).mul_(v)  # v w / (k1 + w)
            # The change is gathered first: at rest it is zero, and rounding does not pile up over the steps.
            self.sums.sub_(self.here, alpha=4).mul_(self.spread)
            self.sums[1:].addcmul_(self.here[1:], self.loss, value=-1)
            self.sums[0].add_(self.rain).sub_(self.soaked)
            self.sums[1].add_(self.soaked).addcmul_(self.drunk, self.uptake, value=-1)
            self.sums[2].addcmul_(self.drunk, self.growth)
            self.here.add_(self.sums)
        self.done += steps

    def _wrap(self) -> None:
        self.cells[..., 0].copy_(self.cells[..., -2])
        self.cells[..., -1].copy_(self.cells[..., 1])
        self.cells[:, :, 0].copy_(self.cells[:, :, -2])
        self.cells[:, :, -1].copy_(self.cells[:, :, 1])

    def state(self) -> Tensor:
        """(B, 3, n, n)."""
        return self.cells[:, :, 1:-1, 1:-1].movedim(0, 1)


def planted(n: int, num: int = 1, generator: torch.Generator | None = None, share: float = 0.1) -> Tensor:
    """Cells planted at random, each with probability ``share``, (num, n, n) bool.

    Example:
        >>> round(float(planted(100, 4, torch.Generator().manual_seed(0)).double().mean()), 1)
        0.1
    """
    return torch.rand(num, n, n, generator=generator, dtype=torch.float64) < share
