"""Kernel ridge regression with a kernel averaged over a group: invariant functions, for any group one can sample."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import kernel_metrics, pairwise_kernels
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from gnet.errors import ConfigError, ShapeError
from gnet.groups.base import Group, NodeGroup
from gnet.theory.regressor import array_shape, flattened

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]
LARGEST = 5040
"""Elements of a finite group that are all used unless a number of samples is given."""
ROWS = 1024
"""Images that are held at once."""


def averaged_kernel(
    x: Tensor, other: Tensor, moves: Callable[[Tensor], Iterable[Tensor]], kernel: Kernel, *, both: bool
) -> Array:
    """The mean over images of a kernel: of the first argument alone, or of both.

    For all elements of a group and a kernel with k(g x, g y) = k(x, y) one side is enough. For a sample of them averaging both
    sides keeps the kernel positive semidefinite, at the square of the cost. No more than about ``ROWS`` images of each side are
    held at once, whatever the size of the group.

    Args:
        moves: the images of a batch under each element, one after the other.

    Shapes:
        x: (n, ...)    other: (m, ...)    returns: (n, m)

    Example:
        >>> swap = lambda batch: iter([batch, batch.flip(1)])
        >>> x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        >>> averaged_kernel(x, x, swap, lambda a, b: a @ b.T, both=False)
        array([[0.5]])
    """
    total, count = np.zeros((len(x), len(other))), 0
    for images in _stacked(moves(x)):
        for others in _stacked(moves(other) if both else [other]):
            block = kernel(images.reshape(-1, images.shape[-1]), others.reshape(-1, others.shape[-1]))
            total += block.reshape(len(images), len(x), len(others), len(other)).sum((0, 2))
            count += len(images) * len(others)
    return np.asarray(total / count)


def _stacked(images: Iterable[Tensor]) -> Iterator[Array]:
    """Some images at a time, (k, n, entries)."""
    rest = iter(images)
    for first in rest:
        more = islice(rest, max(0, ROWS // len(first) - 1))
        yield np.stack([each.flatten(1).numpy() for each in (first, *more)])


class InvariantKernelRidge(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Kernel ridge regression on functions that a group leaves as they are, for any group that can be sampled.

    The kernel is E_g k(g x, y). A finite group of up to 5040 elements is summed over whole, which is exact; of any other
    ``num_samples`` elements are drawn once, and the fitted function is invariant up to their number.

    Args:
        group: one with an action that keeps the kernel: permutations and orthogonal matrices keep "rbf", "linear", "poly". None
            is the trivial group, which makes it kernel ridge regression as everyone knows it.
        kernel: a name known to ``sklearn.metrics.pairwise.pairwise_kernels``.
        gamma: of the kernels that have one; None is 1 over the number of entries.
        alpha: penalty.
        num_samples: elements to draw; None takes all of a finite group.
        random_state: seed of the draw.

    Shapes:
        X: (n, N) or (n, N, C) for groups of N nodes, (n, ..., d) for d x d matrices    y: (n,) or (n, q)

    Units: those of y in ``predict``.

    Raises:
        ConfigError: too large a group without ``num_samples``, settings out of range, an unknown kernel, or one that the action
            does not keep.
        ShapeError: X that the group does not act on, or not as in ``fit``.

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
        group: Group | None = None,
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

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit."""
        self._check_settings()
        shape = array_shape(X)
        flat, targets = validate_data(self, flattened(X, math.inf), y, multi_output=True, y_numeric=True, dtype=np.float64)
        self._signal_shape = self._shape_of_signals(shape)
        self._elements = self._chosen()
        self.num_elements_ = 1 if self._elements is None else len(self._elements)
        self._x = torch.tensor(flat).reshape(-1, *self._signal_shape)
        gram = self._gram(self._x)
        if self.group is not None and np.abs(gram - gram.T).max() > 1e-8 * np.abs(gram).max():
            raise ConfigError(
                f"expected a kernel with k(g x, g y) = k(x, y), which {self.kernel!r} is not for the action of {self.group.name}"
                "; take one of distances or inner products that the group keeps, or draw elements: num_samples=64"
            )
        self._ridge = KernelRidge(alpha=self.alpha, kernel="precomputed").fit(gram, targets)
        return self

    def predict(self, X: ArrayLike) -> Array:
        """The fitted function.

        Shapes:
            X: as in ``fit``    returns: (m,) or (m, q)
        """
        check_is_fitted(self)
        shape = array_shape(X)
        if len(shape) > 2 and shape[1:] != self._signal_shape:
            raise ShapeError(f"expected X of shape (n, {', '.join(map(str, self._signal_shape))}) as in fit, got {shape}")
        flat = validate_data(self, flattened(X, math.inf), dtype=np.float64, reset=False)
        return np.asarray(self._ridge.predict(self._gram(torch.tensor(flat).reshape(-1, *self._signal_shape))))

    def _check_settings(self) -> None:
        if self.group is not None and not isinstance(self.group, Group):
            raise ConfigError(f"expected a group, or None for the trivial one, got {type(self.group).__name__}")
        if not 0 < self.alpha < math.inf:
            raise ConfigError(f"expected a finite alpha > 0, got {self.alpha!r}")
        if self.gamma is not None and not 0 < self.gamma < math.inf:
            raise ConfigError(f"expected a finite gamma > 0, or None, got {self.gamma!r}")
        if self.kernel not in kernel_metrics():
            raise ConfigError(f"expected a kernel of {', '.join(sorted(kernel_metrics()))}, got {self.kernel!r}")
        if self.num_samples is not None and self.num_samples < 1:
            raise ConfigError(f"expected num_samples >= 1, or None for all elements, got {self.num_samples}")

    def _chosen(self) -> list[Tensor] | None:
        if self.group is None:
            return None
        if self.num_samples is not None:
            return list(self.group.sample(self.num_samples, torch.Generator().manual_seed(self.random_state)))
        if not self.group.is_finite or self.group.order() > LARGEST:
            raise ConfigError(
                f"{self.group.name} has more than {LARGEST} elements, too many to list; say how many to draw: num_samples=64"
            )
        return list(self.group.elements(LARGEST))

    def _shape_of_signals(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What the group acts on; X has been checked to have two axes or more."""
        if not isinstance(self.group, NodeGroup):
            return shape[1:]
        if len(shape) not in (2, 3) or shape[1] != self.group.degree:
            size = self.group.degree
            raise ShapeError(f"expected X of shape (n, {size}) or (n, {size}, C), got {shape}")
        return (*shape[1:], 1) if len(shape) == 2 else shape[1:]

    def _images(self, batch: Tensor) -> Iterator[Tensor]:
        if self.group is None or self._elements is None:
            yield batch
            return
        for g in self._elements:
            yield self.group.action(g, batch)

    def _gram(self, x: Tensor) -> Array:
        gamma = 1 / x[0].numel() if self.gamma is None else self.gamma

        def kernel(one: Array, other: Array) -> Array:
            return np.asarray(pairwise_kernels(one, other, metric=self.kernel, filter_params=True, gamma=gamma))

        return averaged_kernel(x, self._x, self._images, kernel, both=self.num_samples is not None)
