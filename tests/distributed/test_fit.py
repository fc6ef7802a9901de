"""Training by DDP: several processes train the net that one trains, however unevenly entries and samples fall."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.distributed.fits import AveragedPerProcess, early_stopping, equivariance, fit, fit_in_team
from tests.distributed.team import Team

EVEN = {"batch_size": 10}  # 20 samples: two batches of ten, five to each of two processes
UNEVEN = {"batch_size": 19}  # nineteen samples, ten and nine, and a last batch of one: one and none


def both(team: Team, folder: Path, data: dict[str, Any], model: dict[str, Any], **settings: Any) -> tuple[Any, list[Any]]:
    one = fit(0, 1, str(folder / "one"), data, model, **settings)
    return one, team.run(fit_in_team, team.size, str(folder / "many"), data, model, settings)


def assert_same(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    """The course of two fits: every loss, everything logged, the best epoch, the weights left behind."""
    torch.testing.assert_close(torch.tensor(other["losses"]), torch.tensor(one["losses"]), rtol=tolerance, atol=tolerance)
    for stage in ("fitted", "tested"):
        assert other[stage].keys() == one[stage].keys()
        for name, value in one[stage].items():
            assert other[stage][name] == pytest.approx(value, rel=tolerance, abs=tolerance), name
    assert other["best"] == (pytest.approx(one["best"][0], rel=tolerance), one["best"][1])
    assert other["weights"].keys() == one["weights"].keys()
    for name, value in one["weights"].items():
        torch.testing.assert_close(
            other["weights"][name], value, rtol=tolerance, atol=tolerance, msg=lambda text, n=name: n + text
        )


@pytest.mark.parametrize("data", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("model", [{}, {"norm": "batch"}, {"num_layers": 1, "loss": "mae"}], ids=["plain", "batch norm", "mae"])
def test_two_processes_train_the_net_of_one(two: Team, tmp_path: Path, data: dict[str, Any], model: dict[str, Any]):
    one, many = both(two, tmp_path, data, model, precision="64-true")
    for found in many:
        assert_same(one, found, 1e-9)
    assert [sum(sizes) for sizes in zip(*(found["sizes"] for found in many), strict=True)] == one["sizes"]


def test_in_single_precision(two: Team, tmp_path: Path):
    one, many = both(two, tmp_path, EVEN, {})
    for found in many:
        torch.testing.assert_close(torch.tensor(found["losses"]), torch.tensor(one["losses"]), rtol=1e-6, atol=1e-6)
        assert found["tested"] == pytest.approx(one["tested"], rel=1e-5)


def test_the_mean_of_each_process_is_caught(two: Team, tmp_path: Path):
    one = fit(0, 1, str(tmp_path / "one"), EVEN, {}, precision="64-true")
    many = two.run(fit_in_team, 2, str(tmp_path / "many"), EVEN, {}, {"kind": AveragedPerProcess, "precision": "64-true"})
    with pytest.raises(AssertionError):
        assert_same(one, many[0], 1e-3)


def test_processes_agree_to_the_last_bit(two: Team, tmp_path: Path):
    first, second = two.run(fit_in_team, 2, str(tmp_path), UNEVEN, {"norm": "batch", "dropout": 0.2}, {"checkpoints": True})
    assert first["files"] == ["best.ckpt", "last.ckpt"]
    assert all(first[name] == second[name] for name in ("losses", "fitted", "tested", "best", "epochs"))
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())


def test_dropout_is_that_of_the_last_run(two: Team, tmp_path: Path):
    runs = [two.run(fit_in_team, 2, str(tmp_path / run), EVEN, {"dropout": 0.5}, {}) for run in ("first", "second")]
    assert runs[0][0]["losses"] == runs[1][0]["losses"]


def test_early_stopping_and_equivariance_errors_are_those_of_one_process(two: Team, tmp_path: Path):
    callbacks = [early_stopping, equivariance]
    one, many = both(two, tmp_path, EVEN, {"lr": 1e-3}, callbacks=callbacks, max_epochs=30, precision="64-true")
    assert 1 < one["epochs"] < 30
    assert [found["epochs"] for found in many] == [one["epochs"]] * 2
    name = "reference_equivariance_error"
    assert [found["fitted"][name] for found in many] == pytest.approx([one["fitted"][name]] * 2, rel=1e-9)


def test_nan_in_one_process_stops_all_and_keeps_the_best(two: Team, tmp_path: Path):
    many = two.run(fit_in_team, 2, str(tmp_path), EVEN, {}, {"poison": True, "checkpoints": True})
    assert all("NaN or infinite in train batch 0 of epoch 1" in found["error"] for found in many)
    assert many[0]["files"] == ["best.ckpt", "last.ckpt"]
    assert many[0]["best"] == many[1]["best"]


def test_one_batch_again_and_again_is_for_one_process(two: Team, tmp_path: Path):
    with pytest.raises(Exception, match="overfit_batches goes with one process"):
        two.run(fit_in_team, 2, str(tmp_path), EVEN, {}, {"overfit_batches": 1})
