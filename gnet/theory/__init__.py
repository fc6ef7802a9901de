"""Closed forms: what a symmetry costs and what it saves, and the linear estimators they are about. float64, on the CPU.

The estimators need scikit-learn, which is imported when the first of them is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gnet.theory.coarsening import (
    Bounds,
    CoarseningError,
    adjacency,
    coarse_approximation,
    coarse_eigenvalues,
    coarsening_error,
    cut_norm,
    infinity_to_one_norm,
)
from gnet.theory.crossover import crossover_sample_size
from gnet.theory.estimates import BiasEstimate, LeastSquares, estimate_bias, estimate_shrinkage, select_group
from gnet.theory.filters import (
    cut_filter_bound,
    equivariance_rate,
    filter_bound,
    filter_difference,
    filter_error,
    polynomial_filter,
    propagated_error,
)
from gnet.theory.generalisation import (
    GeneralisationBound,
    approximation_gap,
    element_approximation_gap,
    generalisation_bound,
    greedy_net_sizes,
    optimal_model_error,
    sorted_within,
)
from gnet.theory.linear_maps import Split, dim_hom, split_map
from gnet.theory.regression import expected_excess_risk, expected_risk_gap
from gnet.theory.risk import RiskGap, linear_risk_gap
from gnet.theory.shrinkage import Shrinkage, optimal_shrinkage, shrinkage_factor
from gnet.theory.solvers import Block, Solver, solver_of
from gnet.theory.weighted import weighted_split

if TYPE_CHECKING:
    from gnet.theory.estimators import EquivariantRidge, ShrunkEquivariantRegression
    from gnet.theory.kernels import InvariantKernelRidge

__all__ = [
    "BiasEstimate",
    "Block",
    "Bounds",
    "CoarseningError",
    "EquivariantRidge",
    "GeneralisationBound",
    "InvariantKernelRidge",
    "LeastSquares",
    "RiskGap",
    "Shrinkage",
    "ShrunkEquivariantRegression",
    "Solver",
    "Split",
    "adjacency",
    "approximation_gap",
    "coarse_approximation",
    "coarse_eigenvalues",
    "coarsening_error",
    "crossover_sample_size",
    "cut_filter_bound",
    "cut_norm",
    "dim_hom",
    "element_approximation_gap",
    "equivariance_rate",
    "estimate_bias",
    "estimate_shrinkage",
    "expected_excess_risk",
    "expected_risk_gap",
    "filter_bound",
    "filter_difference",
    "filter_error",
    "generalisation_bound",
    "greedy_net_sizes",
    "infinity_to_one_norm",
    "linear_risk_gap",
    "optimal_model_error",
    "optimal_shrinkage",
    "polynomial_filter",
    "propagated_error",
    "select_group",
    "shrinkage_factor",
    "solver_of",
    "sorted_within",
    "split_map",
    "weighted_split",
]

_LATER = {
    "EquivariantRidge": "gnet.theory.estimators",
    "ShrunkEquivariantRegression": "gnet.theory.estimators",
    "InvariantKernelRidge": "gnet.theory.kernels",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'gnet.theory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
