"""Patterns of vegetation: a model of three fields on a torus, its emulation, and equations found back from data with units."""

from gnet.plugins.vegetation.discovery import Equation, admitted_terms, discover, thresholded_least_squares
from gnet.plugins.vegetation.emulation import LogRidge, Runs, draw_inputs, simulate_runs
from gnet.plugins.vegetation.equations import LIBRARY, SCALES, expected_coefficients, pattern_data
from gnet.plugins.vegetation.expressions import evaluate
from gnet.plugins.vegetation.features import FEATURES, dimensionless_features, feature_exponents, in_other_units, unit_exponents
from gnet.plugins.vegetation.model import FIELD_UNITS, PHYSICAL, SYSTEM, UNITS, Rietkerk
from gnet.plugins.vegetation.pde import PDEData
from gnet.plugins.vegetation.plots import plot_pattern
from gnet.plugins.vegetation.solver import planted, solve

__all__ = [
    "FEATURES",
    "FIELD_UNITS",
    "LIBRARY",
    "PHYSICAL",
    "SCALES",
    "SYSTEM",
    "UNITS",
    "Equation",
    "LogRidge",
    "PDEData",
    "Rietkerk",
    "Runs",
    "admitted_terms",
    "dimensionless_features",
    "discover",
    "draw_inputs",
    "evaluate",
    "expected_coefficients",
    "feature_exponents",
    "in_other_units",
    "pattern_data",
    "planted",
    "plot_pattern",
    "simulate_runs",
    "solve",
    "thresholded_least_squares",
    "unit_exponents",
]
