"""What is known of each candidate, and the best convex combination of several."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from gnet.groups.base import NodeGroup


@dataclass(frozen=True)
class Candidate:
    """What is known of one group, in mean squared errors of one entry of y, the noise included.

    Attributes:
        predicted: by ``predicted_risk``, from the fitted samples alone: what least squares in the group, fitted to all samples
            without a penalty, has at new inputs. NaN where they are too few to tell.
        validated: by cross-validation, with its standard error over samples; at the best of the penalties, which the same
            samples have chosen, so a little too low.
        penalty: of ridge regression, the best by cross-validation.
        weight: share in the average of all candidates, or the factor of the step from this group to the next larger one.
        difference: ``validated`` less that of the best candidate, and ``difference_error`` its standard error. Samples that are
            hard are hard for all, so that it is known better than either.
        is_learned: whether its clusters were learned from the data, for ``validated`` anew in each fold.
    """

    group: NodeGroup
    num_weights: int
    predicted: float
    validated: float
    standard_error: float
    penalty: float
    weight: float = math.nan
    difference: float = math.nan
    difference_error: float = math.nan
    is_learned: bool = False


def convex_weights(products: np.ndarray) -> np.ndarray:
    """Shares w >= 0 with sum 1 that make w^T P w lowest, P the products of the candidates' errors.

    Example:
        >>> convex_weights(np.array([[1.0, 0.0], [0.0, 3.0]])).round(6)
        array([0.75, 0.25])
    """
    values, vectors = np.linalg.eigh(products / max(float(np.trace(products)), 1e-300) * len(products))
    root = np.sqrt(values.clip(0.0))[:, None] * vectors.T
    heavy = 1e4  # the sum is 1 up to the square of its inverse
    shares, _ = nnls(np.vstack([root, np.full((1, len(products)), heavy)]), np.append(np.zeros(len(products)), heavy))
    return shares / shares.sum()
