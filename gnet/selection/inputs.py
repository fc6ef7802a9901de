"""What ``SymmetrySelection`` is given: settings, nodes, targets that were measured, penalties."""

import math
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.model_selection import KFold, check_cv
from torch import Tensor

from gnet.counts import is_count
from gnet.errors import ConfigError, GraphError, ShapeError
from gnet.theory.regressor import array_shape

Method = Literal["averaging", "validation", "estimate", "shrinkage"]
PENALTIES = (0.0, 0.1, 1.0, 10.0, 100.0)
"""Ridge penalties to begin with, in units of the mean square of an input."""
LARGEST = 1e6
"""To which they are extended while the largest is best: there a fit says little but the mean."""
GAINED = 1e-3
"""Share of the error by which a larger penalty must be better to look further."""


METHODS: tuple[Method, ...] = ("averaging", "validation", "estimate", "shrinkage")


def check_settings(method: Any, merge: Any, complexity: Any, num_bootstraps: Any, num_candidates: Any, graph: Any = None) -> None:
    """Refuse settings that no fit could use, before any.

    Raises:
        ConfigError: one of them is no such setting.
        GraphError: a graph that is none.

    Example:
        >>> check_settings("averaging", None, 2.0, 10, 8)
    """
    if method not in METHODS:
        raise ConfigError(f"expected method in {', '.join(METHODS)}, got {method!r}")
    if merge is not None and not isinstance(merge, bool | np.bool_):
        raise ConfigError(f"expected merge as True, False or None, got {merge!r}")
    if complexity is not None and not (is_number(complexity) and 0 <= complexity < math.inf):
        raise ConfigError(
            f"expected a finite complexity >= 0, got {complexity!r}; 2 for the unbiased risk, None for the log of samples"
        )
    if not is_count(num_bootstraps, 0) or num_bootstraps == 1:
        raise ConfigError(f"expected num_bootstraps as a whole number, 0 or at least 2, got {num_bootstraps!r}")
    if not is_count(num_candidates):
        raise ConfigError(f"expected num_candidates as a whole number >= 1, got {num_candidates!r}")
    if graph is not None and not hasattr(graph, "edge_index"):
        raise GraphError(f"expected a graph with edge_index and num_nodes, as torch_geometric's Data, got {type(graph).__name__}")


def is_number(value: Any) -> bool:
    """Whether it is a real number, of Python's or NumPy's.

    Example:
        >>> is_number(0.5), is_number("0.5"), is_number(False)
        (True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def as_numpy(values: Any) -> Any:
    """Tensors as arrays, also those of dtypes that NumPy lacks; all else as it is.

    Example:
        >>> as_numpy(torch.ones(1, dtype=torch.bfloat16)), as_numpy([1.0])
        (array([1.], dtype=float32), [1.0])
    """
    if not isinstance(values, Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def without_missing(y: Any, mask: ArrayLike | None) -> tuple[Any, ArrayLike | None]:
    """Targets with 0 for NaN, and a mask that does not count them.

    Example:
        >>> without_missing([[1.0, float("nan")]], None)
        (array([[1., 0.]]), array([[ True, False]]))
    """
    y = as_numpy(y)
    values = np.asarray(y)
    if values.dtype.kind != "f" or not np.isnan(values).any():
        return y, mask
    known = ~np.isnan(values)
    return np.where(known, values, 0.0), known if mask is None else _mask_like(mask, values.shape) & known


def counted_entries(mask: ArrayLike | None, targets: Tensor) -> Tensor:
    """Which entries count, shaped as the targets; all without a mask.

    A mask has the shape of the targets, with or without axes of one entry at the end, or their nodes and channels in one axis.

    Raises:
        ShapeError: a mask that is not of bool, or of another shape, such as with exchanged axes.

    Example:
        >>> counted_entries([[True, False]], torch.zeros(1, 2, 1)).shape
        torch.Size([1, 2, 1])
    """
    if mask is None:
        return torch.ones_like(targets, dtype=torch.bool)
    return torch.as_tensor(_mask_like(mask, tuple(targets.shape))).reshape(targets.shape)


def _mask_like(mask: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    given = np.asarray(as_numpy(mask))
    flat = (shape[0], math.prod(shape[1:]))
    if given.dtype != bool or not {_stripped(given.shape)} <= {_stripped(shape), _stripped(flat)}:
        raise ShapeError(f"expected a mask of bool, shaped as y, {shape} or {flat}, got {given.shape} of {given.dtype}")
    return given.reshape(shape)


def _stripped(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without axes of one entry at the end, but for the first axis."""
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def check_penalties(alphas: Sequence[float] | None) -> list[float]:
    """The penalties to begin with.

    Raises:
        ConfigError: none, or some that are no numbers, negative or not finite.

    Example:
        >>> check_penalties((0.0, 5.0)), len(check_penalties(None))
        ([0.0, 5.0], 5)
    """
    given = [] if isinstance(alphas, str) or not np.iterable(alphas) else list(alphas)
    if alphas is None:
        given = list(PENALTIES)
    if not given or not all(is_number(alpha) and 0 <= alpha < math.inf for alpha in given):
        raise ConfigError(f"expected finite ridge penalties >= 0 in alphas, got {alphas!r}; (0.0,) is least squares")
    return [float(alpha) for alpha in given]


def wants_larger(risks: Tensor) -> bool:
    """Whether for some candidate the largest penalty is best, and better than the one before by a share of ``GAINED``.

    Shapes:
        risks: (J, A), penalties increasing

    Example:
        >>> wants_larger(torch.tensor([[3.0, 2.0, 1.0]])), wants_larger(torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 1.0]]))
        (True, False)
    """
    at_edge = risks.argmin(1) == risks.shape[1] - 1
    return bool((at_edge & (risks[:, -1] < (1 - GAINED) * risks[:, -2])).any())


def num_nodes_in(X: Any) -> int:
    """The nodes of X (n, N) or (n, N, C).

    Raises:
        ShapeError: X of other axes.

    Example:
        >>> num_nodes_in(np.zeros((5, 3)))
        3
    """
    shape = np.shape(X)
    if len(shape) not in (2, 3):
        raise ShapeError(f"expected X of shape (n, N) or (n, N, C), got {shape}")
    return int(shape[1])


def check_finite(X: Any) -> None:
    """Refuse inputs that are not finite; what is no array of floats is left to scikit-learn.

    Raises:
        ShapeError: NaN or infinity.

    Example:
        >>> check_finite([[1.0, 2.0]])
    """
    values = np.asarray(as_numpy(X)) if hasattr(X, "shape") or np.iterable(X) else np.zeros(0)
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    places = np.argwhere(~np.isfinite(values))
    raise ShapeError(
        f"expected X without NaN and infinity, got {len(places)} of them, first at X{places[0].tolist()}; leave such samples "
        "out or fill them in (NaN in y is allowed: it does not count)"
    )


def folds_of(cv: Any, num_samples: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The folds of a number, or of a splitter of scikit-learn's.

    Raises:
        ShapeError: more folds than samples.

    Example:
        >>> [test.tolist() for _, test in folds_of(2, 4)]
        [[0, 1], [2, 3]]
    """
    splitter = check_cv(cv)
    if isinstance(splitter, KFold) and splitter.n_splits > num_samples:
        raise ShapeError(
            f"expected at least as many samples as folds, cv={splitter.n_splits}, got n_samples={num_samples}; take a smaller cv"
        )
    return list(splitter.split(np.zeros(num_samples)))


def warn_of_slips(X: Any, y: Any, num_nodes: int | None, output: str | None) -> None:
    """Say what was understood where neither groups nor a graph, or one number for each sample, may be a slip.

    Args:
        num_nodes: None where nothing says what a node is.

    Example:
        >>> warn_of_slips(np.zeros((5, 3)), np.zeros((5, 3)), 3, None)
    """
    shape, y_shape = array_shape(X), array_shape(y)
    entries = math.prod(shape[1:])
    if num_nodes is None and entries > 1:
        text = (
            f"neither groups nor a graph: the {entries} columns of X are taken for channels of a single node, and there is no "
            "symmetry to select; pass SymmetrySelection(groups=...) or fit(X, y, graph)"
        )
        warnings.warn(text, UserWarning, stacklevel=3)
    elif num_nodes is not None and num_nodes > 1 and output is None and len(y_shape) == 1:
        text = (
            f"y has one number for each sample, taken for a target that does not move with the {num_nodes} nodes; say so by "
            f'output="invariant", or pass y of shape (n, {num_nodes})'
        )
        warnings.warn(text, UserWarning, stacklevel=3)
