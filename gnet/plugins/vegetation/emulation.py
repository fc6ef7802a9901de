"""Mean vegetation at the end of a run, learned from its inputs: data on demand, and ridge regression with and without units."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.plugins.vegetation.features import dimensionless_features
from gnet.plugins.vegetation.model import PHYSICAL, UNITS, Rietkerk
from gnet.plugins.vegetation.solver import planted, solve

Inputs = Literal["raw", "dimensionless"]
EXTINCT = 0.1
"""Mean vegetation in g m^-2 below which a run counts as extinct."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Simulated runs.

    Shapes:
        inputs: (N, 16), columns as in ``UNITS``    vegetation: (N,), mean over the torus at the end

    Units: those of ``inputs``.
    """

    inputs: Tensor
    vegetation: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: Tensor | slice) -> "Runs":
        return Runs(self.inputs[rows], self.vegetation[rows])


def draw_inputs(
    num: int, generator: torch.Generator | None = None, *, far: bool = False, side: float = 64.0, duration: float = 200.0
) -> Tensor:
    """Inputs of runs: the twelve parameters are the default ones times independent factors of U(0.8, 1.2).

    Args:
        num: of runs.
        generator: of the factors.
        far: factors of U(0.6, 0.8) or U(1.2, 1.4), each with probability 1/2, outside of where models are trained.
        side, duration: L and T, the same for all.

    Shapes:
        returns: (num, 16)

    Example:
        >>> near = draw_inputs(100)[:, 0] / 0.375
        >>> bool(((near > 0.8) & (near < 1.2)).all())
        True
    """
    drawn = torch.rand(num, len(PHYSICAL), dtype=torch.float64, generator=generator)
    factors = 0.8 + 0.4 * drawn
    if far:
        factors = torch.where(drawn < 0.5, 0.6 + 0.4 * drawn, 1.0 + 0.4 * drawn)
    default = Rietkerk(L=side, T=duration).inputs
    return default * torch.cat([factors, torch.ones(num, len(UNITS) - len(PHYSICAL))], 1)


def simulate_runs(inputs: Tensor, generator: torch.Generator | None = None, *, progress: bool = False) -> Runs:
    """Each run from cells planted at random of its own.

    Raises:
        ConvergenceError: as ``solve``.

    Example:
        >>> runs = simulate_runs(draw_inputs(2, side=16.0, duration=1.0))
        >>> runs.vegetation.shape
        torch.Size([2])
    """
    model = Rietkerk.of(inputs)
    end = solve(model, model.start(planted(model.num_cells, len(model), generator)), progress=progress)
    return Runs(inputs, end[0, :, 2].mean((1, 2)))


class LogRidge:
    """Ridge regression on polynomials of logarithms of the inputs, its penalty chosen by five folds of the training runs.

    "raw" takes the sixteen numbers as they are and predicts mean vegetation; "dimensionless" takes the twelve products without
    units and predicts mean vegetation over k2, so that its prediction in any units is the same prediction.

    Args:
        inputs: "raw" or "dimensionless".
        degree: of the polynomials.
        seed: of the folds.

    Raises:
        ConfigError: other inputs.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> inputs = draw_inputs(50, generator)
        >>> runs = Runs(inputs, inputs[:, 2] * (1 + inputs[:, 9] * inputs[:, 5]))  # k2 (1 + c gm), with c gm over one day
        >>> bool(LogRidge("raw", 2).fit(runs).r2(runs) > 0.9)
        True
    """

    def __init__(self, inputs: Inputs, degree: int = 2, seed: int = 0) -> None:
        if inputs not in ("raw", "dimensionless") or degree < 1:
            raise ConfigError(f"expected inputs 'raw' or 'dimensionless' and degree >= 1, got {inputs!r} and {degree}")
        self.inputs, self.degree, self.seed = inputs, degree, seed
        self.model: Any = None

    def fit(self, runs: Runs) -> "LogRidge":
        """Choose the penalty and fit; returns itself.

        Raises:
            ShapeError: fewer than five runs.
            DegenerateInputError: (in ``predict``, too) an input that is not positive, which has no logarithm.
        """
        import numpy as np
        from sklearn.linear_model import RidgeCV
        from sklearn.model_selection import KFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        if len(runs) < 5:
            raise ShapeError(f"expected at least five runs, one for each fold, got {len(runs)}")
        folds = KFold(5, shuffle=True, random_state=self.seed)
        ridge = RidgeCV(alphas=np.logspace(-3, 3, 25), cv=folds)
        self.model = make_pipeline(StandardScaler(), PolynomialFeatures(self.degree, include_bias=False), ridge)
        self.model.fit(self._features(runs.inputs), (runs.vegetation / self._scale(runs.inputs)).numpy())
        return self

    def predict(self, inputs: Tensor) -> Tensor:
        """Mean vegetation in the units of the inputs, (N,).

        Raises:
            ConfigError: nothing was fitted.
        """
        if self.model is None:
            raise ConfigError("nothing was fitted; call fit first")
        return torch.from_numpy(self.model.predict(self._features(inputs))) * self._scale(inputs)

    def r2(self, runs: Runs) -> float:
        """The share of the variance of mean vegetation that is explained."""
        left = (runs.vegetation - self.predict(runs.inputs)).square().sum()
        return float(1 - left / (runs.vegetation - runs.vegetation.mean()).square().sum())

    def _features(self, inputs: Tensor) -> Any:
        if not bool((inputs > 0).all()):
            raise DegenerateInputError(f"expected positive inputs, which have logarithms, got {float(inputs.min()):g}")
        return (inputs if self.inputs == "raw" else dimensionless_features(inputs)).log().numpy()

    def _scale(self, inputs: Tensor) -> Tensor:
        return inputs[:, list(UNITS).index("k2")] if self.inputs == "dimensionless" else torch.ones_like(inputs[:, 0])
