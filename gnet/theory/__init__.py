"""Closed forms: what a symmetry costs and what it saves. float64, on the CPU; nothing here trains or samples."""

from gnet.theory.estimates import BiasEstimate, LeastSquares, estimate_bias, estimate_shrinkage, select_group
from gnet.theory.linear_maps import dim_hom, split_map
from gnet.theory.regression import crossover_sample_size, expected_excess_risk, expected_risk_gap
from gnet.theory.risk import RiskGap, linear_risk_gap
from gnet.theory.shrinkage import Shrinkage, optimal_shrinkage, shrinkage_factor

__all__ = [
    "BiasEstimate",
    "LeastSquares",
    "RiskGap",
    "Shrinkage",
    "crossover_sample_size",
    "dim_hom",
    "estimate_bias",
    "estimate_shrinkage",
    "expected_excess_risk",
    "expected_risk_gap",
    "linear_risk_gap",
    "optimal_shrinkage",
    "select_group",
    "shrinkage_factor",
    "split_map",
]
