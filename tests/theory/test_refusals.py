"""Each argument of each public function of theory and measures, made wrong in turn: an error of ours that is named."""

import inspect
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from gnet.errors import GnetError, GroupError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup, TrivialGroup, grid_group
from gnet.measures import model_error
from gnet.theory import EquivariantRidge, LeastSquares, ShrunkEquivariantRegression
from tests.theory.test_docstrings import FUNCTIONS, raised_by

S2, S3, EYE = ClusterGroup(Partition([0, 0, 1])), SymmetricGroup(3), np.eye(3)
GRAPH = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
X = torch.arange(12.0, dtype=torch.float64).reshape(4, 3, 1)
FIT = LeastSquares(torch.ones(3, 1), torch.eye(3, dtype=torch.float64), 1.0)
REGRESSION: dict[str, Any] = {"n": 20, "sigma_x": 1.0, "sigma_xi": 1.0, "output": "equivariant", "covariance": EYE}
FILTER: dict[str, Any] = {"graph": GRAPH, "coefficients": [1.0, 0.5], "sigma_x": 1.0}
SAMPLED: dict[str, Any] = {"f": torch.tanh, "x": X, "group": S3, "num_samples": 4}
FITS: dict[str, Any] = {"fit": lambda draw: torch.tanh, "x": X, "target": X, "num_draws": 2, "mask": X > 0}

# A call of each function that is answered.
RIGHT: dict[str, dict[str, Any]] = {
    "adjacency": {"graph": EYE},
    "approximation_gap": {"data_error": 1.0, "model_error": 0.5},
    "coarse_approximation": {"graph": EYE, "partition": Partition([0, 0, 1]), "target": "blowup"},
    "coarse_eigenvalues": {"data": GRAPH, "partition": Partition([0, 0, 1])},
    "coarsening_error": {"data": GRAPH, "partition": Partition([0, 0, 1]), "target": "blowup", "restarts": 2},
    "crossover_sample_size": {"theta": EYE, "smaller_group": TrivialGroup(3), "larger_group": S3, "estimator": "projected"}
    | {name: value for name, value in REGRESSION.items() if name != "n"},
    "cut_filter_bound": {"power": 2, "largest": 1.0, "cut": 0.1},
    "cut_norm": {"matrix": EYE},
    "dim_hom": {"group": S3, "in_channels": 2, "out_channels": 1, "output": "invariant"},
    "element_approximation_gap": {"data_error": 1.0, "model_error": 0.5},
    "equivariance_rate": FILTER,
    "estimate_bias": {"fit": FIT, "group": S3},
    "estimate_shrinkage": {"fit": FIT, "groups": [TrivialGroup(3), S3]},
    "expected_excess_risk": {"theta": EYE, "group": S3, "estimator": "ols", **REGRESSION},
    "expected_risk_gap": {"theta": EYE, "group": S3, **REGRESSION},
    "filter_bound": FILTER | {"partition": Partition([0, 0, 1]), "target": "blowup"},
    "filter_difference": FILTER | {"partition": Partition([0, 0, 1]), "target": "blowup"},
    "filter_error": FILTER | {"group": S3},
    "generalisation_bound": {"radii": [1.0, 0.5], "cells": [1, 2], "n": 9, "lipschitz": 1.0, "epsilon": 0.1}
    | {"largest_loss": 1.0, "delta": 0.1},
    "greedy_net_sizes": {"x": EYE, "diameters": [1.0, 0.5]},
    "infinity_to_one_norm": {"matrix": EYE},
    "linear_risk_gap": {"truth": EYE, "theta": EYE, "group": S3, "sigma_x": 1.0, "output": "equivariant", "covariance": EYE},
    "optimal_model_error": {"bias": 1.0, "variance": 1.0},
    "optimal_shrinkage": {"theta": EYE, "groups": [TrivialGroup(3), S3], **REGRESSION},
    "polynomial_filter": {"graph": GRAPH, "coefficients": [1.0, 0.5]},
    "propagated_error": {"x": X, "shift": EYE, "coarse_shift": EYE, "layers": [([[1.0]], [[1.0]])]},
    "select_group": {"fit": FIT, "groups": [S3]},
    "shrinkage_factor": {"bias": 1.0, "variance": 1.0},
    "solver_of": {"group": S3},
    "sorted_within": {"group": S3},
    "split_map": {"theta": EYE, "group": S3, "output": "equivariant"},
    "weighted_split": {"theta": EYE, "group": S3, "covariance": EYE, "output": "equivariant"},
    "approximate_stabiliser": {"f": torch.tanh, "x": X, "candidates": [[0, 1, 2]], "epsilon": 1.0, "group": S3}
    | {"confidence": 0.9},
    "bias_variance": {"predictions": torch.zeros(2, 3), "target": torch.zeros(3), "draws": [0, 1], "mask": [True, True, False]},
    "channel_equivariance_errors": {"weight": torch.eye(3), "group": S3, "output": "equivariant"},
    "data_error": {"x": torch.randn(9, 3), "y": torch.randn(9), "group": S3, "sigma_x": 1.0},
    "decompose": {"gram": np.eye(2), "draws": [0, 1]},
    "energy_shift": {"x": X, "group": S3, "num_samples": 2, "num_permutations": 1},
    "equivariance_error": SAMPLED,
    "fitted_bias_variance": FITS,
    "held_out_risk_gap": SAMPLED | {"y": X},
    "layer_equivariance_errors": {"net": nn.Sequential(nn.Tanh()), "x": X, "group": S3, "num_samples": 4},
    "linear_equivariance_error": {"weight": torch.eye(3), "bias": torch.ones(3), "group": S3, "x": X.float(), "sigma_x": 1.0}
    | {"output": "equivariant"},
    "model_error": SAMPLED,
    "moment_shift": {"x": X, "group": S3, "order": 2},
    "pointwise_errors": {"f": torch.tanh, "x": X, "group": S3},
    "project": {"f_or_weight": torch.tanh, "group": S3, "output": "equivariant", "num_samples": 4},
    "residual_gram": {"predictions": [np.zeros(3)] * 2, "target": np.zeros(3), "mask": np.ones(3, dtype=bool)},
    "stabiliser_of": {"errors": model_error(torch.tanh, X, S3), "epsilon": 1.0, "confidence": 0.9},
}

NUMBERS = {"sigma_x", "sigma_xi", "data_error", "model_error", "largest", "cut", "lipschitz", "epsilon", "largest_loss", "bias"}
NUMBERS |= {"variance", "confidence", "delta"}
WHOLE = {"n", "num_samples", "num_permutations", "num_draws", "restarts", "power", "in_channels", "out_channels", "order"}
WORDS = {"output", "target", "estimator"}
GROUPS = {"group", "groups", "smaller_group", "larger_group"}
ARRAYS = {
    "graph",
    "matrix",
    "theta",
    "truth",
    "covariance",
    "x",
    "y",
    "coefficients",
    "shift",
    "coarse_shift",
    "radii",
    "cells",
    "diameters",
}
ARRAYS |= {"weight", "predictions", "gram", "mask", "bias", "target"}


def wrong(name: str, parameter: str, right: Any) -> Iterator[Any]:
    """What an argument must not be."""
    if parameter in GROUPS:
        yield from ["S3", 3, [S3, "x"]]
        if (name, parameter) not in {
            ("expected_excess_risk", "group"),
            ("solver_of", "group"),
            ("approximate_stabiliser", "group"),
        }:
            yield None  # there the trivial group, or permutations
        if name == "sorted_within":
            yield grid_group((3, 1), "flips")
    elif isinstance(right, str):
        yield from ["nonsense", None, 1]
    elif parameter in WHOLE:
        yield from [2.5, math.nan, math.inf, -1, "x"]
    elif isinstance(right, float) and parameter in NUMBERS:
        yield from [math.nan, -1.0, "x", None]
        if (name, parameter) not in {("approximate_stabiliser", "epsilon"), ("stabiliser_of", "epsilon")}:
            yield math.inf  # there every element is accepted
    elif parameter == "partition":
        yield from [[0, 0, 1], None, Partition([0, 1])]
    elif parameter in {"net", "data"}:
        yield from ["x", 3]
    elif parameter in ARRAYS and (name, parameter) != ("fitted_bias_variance", "x"):  # which only its predictors read
        yield from ["x", [[1.0], [1.0, 2.0]]]


CASES = [
    pytest.param(name, parameter, bad, id=f"{name}-{parameter}-{type(bad).__name__}-{number}")
    for name, right in RIGHT.items()
    for parameter, value in right.items()
    for number, bad in enumerate(wrong(name, parameter, value))
]


def test_every_function_has_a_call():
    assert set(RIGHT) == set(FUNCTIONS)
    assert {name for name, *_ in (case.values for case in CASES)} == set(FUNCTIONS)


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_call_is_answered(name):
    """Else anything would seem to be refused; and every argument that is a group, a word or a count is in it."""
    function = FUNCTIONS[name]
    extra = {"is_invariant": False} if name == "solver_of" else {}
    assert function(**RIGHT[name], **extra) is not None
    wanted = set(inspect.signature(function).parameters) & (GROUPS | WORDS | WHOLE | NUMBERS)
    assert wanted <= set(RIGHT[name]), wanted - set(RIGHT[name])


@pytest.mark.parametrize(("name", "parameter", "bad"), CASES)
def test_a_wrong_argument_gets_an_error_that_is_named(name, parameter, bad):
    extra = {"is_invariant": False} if name == "solver_of" else {}
    with pytest.raises(GnetError) as caught:
        FUNCTIONS[name](**RIGHT[name] | {parameter: bad}, **extra)
    assert type(caught.value).__name__ in raised_by(name)


@pytest.mark.parametrize(
    "model", [EquivariantRidge("S3"), ShrunkEquivariantRegression("S3"), ShrunkEquivariantRegression(["S3"])]
)
def test_estimators_refuse_what_is_no_group(model):
    with pytest.raises(GroupError, match="expected a node group, got str"):
        model.fit(EYE.repeat(3, 0), np.ones(9))
