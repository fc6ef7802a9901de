"""On a planted linear task the study measures the bias^2 and the variance that theory predicts.

Theory, for x ~ N(0, 1), noise of variance 1, n samples, N nodes with one channel, all divided by N (per entry):

- OLS (trivial group): bias^2 = 0, variance = N^2 / (n - N - 1);
- OLS projected onto the group: bias^2 = ||Theta - mean over the group||^2, variance = dim / (n - N - 1);
- trained inside the class, planted symmetry exact: bias^2 = 0, and the variance of the isotypic parts, smaller than the former.

Test targets have no noise, so bias^2 has no irreducible part here. All seeds are fixed: the 0.3 % of an unlucky draw does not
come and go.
"""

import math
from pathlib import Path

import pytest

from gnet.measures.decomposition import Decomposition
from gnet.study.plan import Plan, Variant
from gnet.study.report import decompositions
from gnet.study.run import run_study
from gnet.training.datamodule import GraphDataModule
from gnet.training.planted import Planted
from gnet.training.planted_traffic import PlantedTraffic
from gnet.training.symmetry import GivenPartition, Trivial

SIZES = (3, 2, 1)
NUM_NODES, NUM_CLUSTERS = 6, 3
DIMENSION = NUM_CLUSTERS**2 + 2  # one weight per pair of clusters, and the diagonals of the two clusters with more than a node
DEVIATION = 1.5
NUM_DRAWS = 36
SAMPLE_SIZES = (12, 20, 40)


def variance_of_ols(n: int) -> float:
    return NUM_NODES**2 / (n - NUM_NODES - 1) / NUM_NODES


def variance_of_projected(n: int) -> float:
    return DIMENSION / (n - NUM_NODES - 1) / NUM_NODES


def variance_inside_the_class(n: int) -> float:
    of_means = NUM_CLUSTERS**2 / (n - NUM_CLUSTERS - 1)
    of_deviations = sum((c - 1) / (n * (c - 1) - 2) for c in SIZES if c > 1)
    return (of_means + of_deviations) / NUM_NODES


def measure(
    folder: Path, n: int, models: dict[str, dict[str, object]], kind: type[GraphDataModule] = Planted, **settings: object
) -> dict[str, Decomposition]:
    """A study of these linear models, in this process, through the study's own functions."""
    data = {"sizes": list(SIZES), "num_train": n, "num_val": 1, "num_test": 4000, **settings}
    solver = {
        "lr": 1.0,
        "max_iter": 60,
        "history_size": 60,
        "tolerance_grad": 1e-6,
        "tolerance_change": 1e-9,
        "line_search_fn": "strong_wolfe",
    }
    config = {
        "data": {"class_path": f"{kind.__module__}.{kind.__name__}", "init_args": data},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "limit_val_batches": 0},
        "optimizer": {"class_path": "torch.optim.LBFGS", "init_args": solver},
    }
    linear = {"num_layers": 1, "bias": None, "parametrization": "canonical", "keep": "last"}
    planted = kind(**data)
    variants = tuple(
        Variant(name, "symmetry", {**config, "model": {**linear, **model}}, {}, planted.group) for name, model in models.items()
    )
    plan = Plan(variants, folder, seeds=(0,), draws=NUM_DRAWS, jobs=0, checkpoints=False)
    result = run_study(plan, planted)
    assert not result.failures
    return decompositions(folder, result.rows)


def within_three_errors(measured: float, error: float, expected: float) -> bool:
    return abs(measured - expected) < 3 * error


@pytest.fixture
def symmetry(tmp_path: Path) -> dict[str, object]:
    path = tmp_path / "clusters.txt"
    path.write_text("".join(f"{label}\n" for label, size in enumerate(SIZES) for _ in range(size)))
    return GivenPartition(str(path)).as_config()


@pytest.mark.parametrize("n", SAMPLE_SIZES)
def test_projected_least_squares_agrees_with_theory(tmp_path: Path, symmetry: dict[str, object], n: int) -> None:
    trivial = Trivial().as_config()
    models = {"ols": {"symmetry": trivial}, "projected": {"symmetry": trivial, "project_onto": symmetry}}
    found = measure(tmp_path / "study", n, models, deviation=DEVIATION)
    ols, projected = found["ols"], found["projected"]
    assert within_three_errors(ols.bias2, ols.bias2_error, 0.0)
    assert within_three_errors(ols.variance, ols.variance_error, variance_of_ols(n))
    # The test set is finite: for M normal inputs its part in the error is at most sqrt(2 / M) of the bias^2.
    of_test_set = DEVIATION**2 / NUM_NODES * math.sqrt(2 / 4000)
    assert within_three_errors(projected.bias2, math.hypot(projected.bias2_error, of_test_set), DEVIATION**2 / NUM_NODES)
    assert within_three_errors(projected.variance, projected.variance_error, variance_of_projected(n))
    assert not within_three_errors(projected.bias2, projected.bias2_error, 0.0)  # a liar: no bias claimed


@pytest.mark.parametrize("n", SAMPLE_SIZES)
def test_training_inside_the_class_agrees_with_theory(tmp_path: Path, symmetry: dict[str, object], n: int) -> None:
    inside = measure(tmp_path / "study", n, {"inside": {"symmetry": symmetry}})["inside"]
    assert within_three_errors(inside.bias2, inside.bias2_error, 0.0)
    assert within_three_errors(inside.variance, inside.variance_error, variance_inside_the_class(n))
    if n == min(SAMPLE_SIZES):  # a liar: the other estimator's formula
        assert not within_three_errors(inside.variance, inside.variance_error, variance_of_projected(n))


def test_forecasts_of_planted_traffic_agree_with_theory(tmp_path: Path, symmetry: dict[str, object]) -> None:
    """One step ahead, two channels in and one out: each of N^2 d d' weights and p = N d inputs."""
    trivial, n = Trivial().as_config(), 40
    white = {"inputs": "white", "horizon_in": 1, "horizon_out": 1, "batch_size": None}
    models = {"ols": {"symmetry": trivial}, "projected": {"symmetry": trivial, "project_onto": symmetry}}
    found = measure(tmp_path / "study", n, models, PlantedTraffic, **white)
    per_weight = 1 / (n - 2 * NUM_NODES - 1) / NUM_NODES
    ols, projected, planted = found["ols"], found["projected"], PlantedTraffic(list(SIZES), **white)
    bias2 = planted.bias(planted.group) / NUM_NODES
    assert within_three_errors(ols.bias2, ols.bias2_error, 0.0)
    assert within_three_errors(ols.variance, ols.variance_error, 2 * NUM_NODES**2 * per_weight)
    assert within_three_errors(projected.bias2, math.hypot(projected.bias2_error, bias2 * math.sqrt(2 / 4000)), bias2)
    assert within_three_errors(projected.variance, projected.variance_error, 2 * DIMENSION * per_weight)
    assert not within_three_errors(projected.bias2, projected.bias2_error, 0.0)
