"""Kernel ridge regression with a kernel averaged over a group: invariant functions, for any group one can sample."""

from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import pairwise_kernels
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.groups.base import Group, NodeGroup
from gnet.theory.checks import as_float64

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]
LARGEST = 5040
"""Elements of a finite group that are all used unless a number of samples is given."""


def averaged_kernel(x: Tensor, other: Tensor, moves: Callable[[Tensor], list[Tensor]], kernel: Kernel, *, both: bool) -> Array:
    """The mean over images of a kernel: of the first argument alone, or of both.

    For all elements of a group and a kernel with k(g x, g y) = k(x, y) one side is enough. For a sample of them averaging both
    sides keeps the kernel positive semidefinite, at the square of the cost.

    Args:
        moves: the images of a batch under each element.

    Shapes:
        x: (n, ...)    other: (m, ...)    returns: (n, m)

    Example:
        >>> swap = lambda batch: [batch, batch.flip(1)]
        >>> x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        >>> averaged_kernel(x, x, swap, lambda a, b: a @ b.T, both=False)
        array([[0.5]])
    """
    images = [each.flatten(1).numpy() for each in moves(x)]
    others = [each.flatten(1).numpy() for each in moves(other)] if both else [other.flatten(1).numpy()]
    total = sum(kernel(a, b) for a in images for b in others)
    return np.asarray(total) / (len(images) * len(others))


class InvariantKernelRidge(RegressorMixin, BaseEstimator):
    """Kernel ridge regression on functions that a group leaves as they are, for any group that can be sampled.

    The kernel is E_g k(g x, y). A finite group of up to 5040 elements is summed over whole, which is exact; of any other
    ``num_samples`` elements are drawn once, and the fitted function is invariant up to their number.

    Args:
        group: one with an action that keeps the kernel: permutations and orthogonal matrices keep "rbf", "linear", "poly".
        kernel: a name known to ``sklearn.metrics.pairwise.pairwise_kernels``.
        gamma: of the kernel; None is its default, 1 over the number of entries.
        alpha: penalty.
        num_samples: elements to draw; None takes all of a finite group.
        random_state: seed of the draw.

    Shapes:
        X: (n, N) or (n, N, C) for groups of N nodes, (n, ..., d) for d x d matrices    y: (n,) or (n, q)

    Raises:
        ConfigError: too large a group without ``num_samples``, or settings out of range.
        ShapeError: X that the group does not act on.

    Attributes:
        num_elements_: over how many elements it averages.

    References:
        Haasdonk and Burkhardt (2007), doi:10.1007/s10994-007-5009-7, invariant kernels by integration; Elesedy (2021),
        arXiv:2106.02346, what they gain; Tahmasebi and Jegelka (2023), arXiv:2303.14269, how the gain grows with the group.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((40, 4))
        >>> model = InvariantKernelRidge(SymmetricGroup(4), alpha=1e-3).fit(x, (x**2).sum(1))
        >>> bool(np.allclose(model.predict(x), model.predict(x[:, [2, 0, 3, 1]]))), model.num_elements_
        (True, 24)
    """

    def __init__(
        self,
        group: Group,
        *,
        kernel: str = "rbf",
        gamma: float | None = None,
        alpha: float = 1.0,
        num_samples: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.group = group
        self.kernel = kernel
        self.gamma = gamma
        self.alpha = alpha
        self.num_samples = num_samples
        self.random_state = random_state

    def fit(self, X: ArrayLike | Tensor, y: ArrayLike | Tensor) -> Self:
        """Fit."""
        if not isinstance(self.group, Group):
            raise ConfigError(
                f"expected a group, got {type(self.group).__name__}; for none take sklearn.kernel_ridge.KernelRidge"
            )
        if not self.alpha > 0:
            raise ConfigError(f"expected alpha > 0, got {self.alpha!r}")
        self._elements = self._chosen()
        self.num_elements_ = len(self._elements)
        self._x = self._signals(X)
        targets = as_float64(y).numpy()
        if len(targets) != len(self._x):
            raise ShapeError(f"expected as many targets as samples, got {len(targets)} and {len(self._x)}")
        self._ridge = KernelRidge(alpha=self.alpha, kernel="precomputed").fit(self._gram(self._x), targets)
        return self

    def predict(self, X: ArrayLike | Tensor) -> Array:
        """The fitted function.

        Shapes:
            X: as in ``fit``    returns: (m,) or (m, q)
        """
        if not hasattr(self, "_ridge"):
            raise ConfigError("fit first: call fit(X, y)")
        return np.asarray(self._ridge.predict(self._gram(self._signals(X))))

    def _chosen(self) -> list[Tensor]:
        if self.num_samples is not None:
            if self.num_samples < 1:
                raise ConfigError(f"expected num_samples >= 1, or None for all elements, got {self.num_samples}")
            return list(self.group.sample(self.num_samples, torch.Generator().manual_seed(self.random_state)))
        if not self.group.is_finite or self.group.order() > LARGEST:
            raise ConfigError(
                f"{self.group.name} has more than {LARGEST} elements, too many to list; say how many to draw: num_samples=64"
            )
        return list(self.group.elements(LARGEST))

    def _signals(self, X: ArrayLike | Tensor) -> Tensor:
        x = as_float64(X)
        if isinstance(self.group, NodeGroup):
            x = x.unsqueeze(-1) if x.ndim == 2 else x
            if x.ndim != 3 or x.shape[1] != self.group.degree:
                size = self.group.degree
                raise ShapeError(f"expected X of shape (n, {size}) or (n, {size}, C), got {tuple(np.shape(X))}")
        elif x.ndim < 2:
            raise ShapeError(f"expected X of shape (n, ...), got {tuple(x.shape)}")
        return x

    def _gram(self, x: Tensor) -> Array:
        gamma = 1 / x[0].numel() if self.gamma is None else self.gamma
        options = {} if self.kernel == "linear" else {"gamma": gamma}
        return averaged_kernel(
            x,
            self._x,
            lambda batch: [self.group.action(g, batch) for g in self._elements],
            lambda a, b: pairwise_kernels(a, b, metric=self.kernel, **options),
            both=self.num_samples is not None,
        )
