"""Running: what is done stays done, what differs is refused, what fails is said. In this process, on tiny trials."""

import copy
import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError, DataError
from gnet.study.command import execute
from gnet.study.journal import COLUMNS, read_rows
from gnet.study.plan import Plan, Variant
from gnet.study.report import decompositions
from gnet.study.run import StudyResult, run_study
from gnet.study.trials import _in_units_of_study, trial_path
from gnet.training.checkpoint import load
from gnet.training.data import Digits
from gnet.training.datamodule import Batch
from gnet.training.standardise import Scaling, Standardiser
from gnet.training.symmetry import Symmetric, Trivial

DATA = {"num_train": 12, "num_val": 10, "num_test": 20}
CONFIG: dict[str, Any] = {
    "model": {"hidden_channels": 2},
    "data": {"class_path": "gnet.training.data.Digits", "init_args": DATA},
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
}
MODULE = Digits(**DATA)


def symmetry(name: str, rule: Any, **model: Any) -> Variant:
    config = copy.deepcopy(CONFIG)
    config["model"] |= {"symmetry": rule.as_config(), **model}
    return Variant(name, "symmetry", config, {"model.symmetry": rule.as_config()}, rule(MODULE.graph, MODULE.grid_shape))


FULL, NONE = symmetry("S64", Symmetric()), symmetry("trivial", Trivial())
RIDGE = Variant("ridge", "baseline", FULL.config, {}, None)


def plan(out: Path, *variants: Variant, **settings: Any) -> Plan:
    return Plan(variants or (FULL, NONE, RIDGE), out, **{"seeds": (0, 1), "jobs": 0, "config_name": "tiny", **settings})


def run(out: Path, *variants: Variant, **settings: Any) -> StudyResult:
    return run_study(plan(out, *variants, **settings), MODULE)


def table(out: Path) -> list[list[str]]:
    """``results.csv`` without the column that says how long things took."""
    drop = COLUMNS.index("seconds")
    with open(out / "results.csv", newline="") as file:
        return [line[:drop] + line[drop + 1 :] for line in csv.reader(file)]


def test_a_study_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    out = tmp_path / "cut"
    run(out)
    assert table(out) == table(tmp_path / "whole")
    trial_path(out, ("trivial", 0, 1)).unlink()  # a row whose predictions are gone
    text = (out / "results.csv").read_text()
    (out / "results.csv").write_text(text[: text.rindex("ridge") + 9])  # and a line cut in its middle
    (out / "trials" / "S64" / "draw0-seed0.99.tmp.npy").touch()
    kept = {row.key: row for row in read_rows(out / "results.csv")}
    again = run(out)
    assert table(out) == table(tmp_path / "whole")
    assert all(row == kept[row.key] for row in again.rows if row.key in kept and row.key != ("trivial", 0, 1))
    assert not list(out.glob("trials/*/*.tmp*"))
    assert again.rows == run(out).rows  # nothing is trained twice, seconds included


def test_the_loss_of_the_task_goes_by_its_name_too(tmp_path: Path) -> None:
    """A folder whose configs spell the loss out goes on with a config that leaves it to the task, and no other loss does."""
    before = run(tmp_path, symmetry("S64", Symmetric(), loss="mse")).rows
    assert run(tmp_path, symmetry("S64", Symmetric(), loss=None)).rows == before
    with pytest.raises(ConfigError, match=r"S64 has model\.loss = 'mse' there, 'mae' now"):
        run(tmp_path, symmetry("S64", Symmetric(), loss="mae"))


def test_what_a_fit_would_log_is_no_part_of_a_study(tmp_path: Path) -> None:
    before = run(tmp_path, FULL).rows
    logging = dataclasses.replace(FULL, config={**FULL.config, "log_equivariance": {"every_steps": 5}})
    assert run(tmp_path, logging).rows == before


def test_a_folder_from_before_there_were_layers_near_a_group_goes_on(tmp_path: Path) -> None:
    before = run(tmp_path, FULL).rows
    assert run(tmp_path, symmetry("S64", Symmetric(), relaxation=None, beside=None)).rows == before
    with pytest.raises(ConfigError, match=r"S64 has .*model\.relaxation\.rank"):
        run(tmp_path, symmetry("S64", Symmetric(), layer="low_rank", relaxation={"rank": 2}))


def test_rows_stand_in_canonical_order(tmp_path: Path) -> None:
    rows = run(tmp_path, draws=2).rows
    assert [(row.symmetry, row.draw, row.seed) for row in rows] == [
        (name, draw, seed) for name in ("S64", "trivial", "ridge") for draw in range(2) for seed in range(2)
    ]
    assert [row.num_clusters for row in rows[::4]] == [1, 64, 64]
    assert len({row.test_loss for row in rows}) == len(rows)


def test_the_equivariance_error_refers_to_the_largest_group(tmp_path: Path) -> None:
    errors = {row.symmetry: row.equivariance_error for row in run(tmp_path).rows}
    assert errors["S64"] < 1e-12
    assert errors["trivial"] > 0.1 and errors["ridge"] > 0.1


def test_predictions_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, NONE, seeds=(0,))
    path = trial_path(tmp_path, ("trivial", 0, 0))
    net = load(path.with_suffix(".ckpt"))
    with torch.no_grad():
        expected = net.eval()(MODULE.predict_arrays().x)
    assert np.load(path) == pytest.approx(expected.numpy(), abs=1e-5)


def test_predictions_are_on_the_masks_of_the_study(tmp_path: Path) -> None:
    """Also where the published protocol draws the masks of the test loss anew for every seed."""
    config = copy.deepcopy(NONE.config)
    config["data"]["init_args"] |= {"test_masks": "run"}
    run(tmp_path, dataclasses.replace(NONE, config=config), seeds=(3, 4))
    own = Digits(**DATA, test_masks="run", seed=3).test_arrays().x
    for seed in (3, 4):
        path = trial_path(tmp_path, ("trivial", 0, seed))
        net = load(path.with_suffix(".ckpt")).eval()
        with torch.no_grad():
            of_study, of_run = net(MODULE.predict_arrays().x).numpy(), net(own).numpy()
        assert np.load(path) == pytest.approx(of_study, abs=1e-5)
        assert np.abs(np.load(path) - of_run).max() > 0.01


@pytest.mark.parametrize("damage", [lambda whole: whole[:100], lambda whole: whole[:-1], lambda _: b"", lambda _: b"x" * 500])
def test_damaged_predictions_are_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    run(tmp_path, NONE)
    path, before = trial_path(tmp_path, ("trivial", 0, 1)), table(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    run(tmp_path, NONE)
    assert path.read_bytes() == whole and table(tmp_path) == before


def test_a_damaged_test_set_is_named(tmp_path: Path) -> None:
    run(tmp_path, NONE)
    path = tmp_path / "test_set.npz"
    whole = path.read_bytes()
    for content in (b"xx", whole[:200], whole[:-1], whole[:900] + b"damage" + whole[906:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"test_set\.npz is damaged; delete it, and the same command makes it again"):
            run(tmp_path, NONE)
    path.unlink()
    run(tmp_path, NONE)
    assert path.read_bytes() == whole


def test_the_reference_of_an_earlier_start_is_the_target_of_its_projection(tmp_path: Path) -> None:
    onto = symmetry("onto", Trivial(), project_onto=Symmetric().as_config(), num_layers=1)
    onto = dataclasses.replace(onto, group=FULL.group)
    assert [row.equivariance_error < 1e-6 for row in run(tmp_path, onto, NONE, seeds=(0,)).rows] == [True, False]
    later = run(tmp_path, NONE, seeds=(0, 1))  # measured by the group of "onto", which is made from its config
    assert later.manifest["reference"] == "onto"
    assert all(row.equivariance_error > 0.1 for row in later.rows if row.symmetry == "trivial")


def test_seeds_draws_and_variants_may_be_added(tmp_path: Path) -> None:
    first = run(tmp_path, NONE, RIDGE, seeds=(0,))
    assert first.manifest["reference"] == "trivial"
    later = run(tmp_path, FULL, NONE, seeds=(0, 1), draws=2)
    assert len(later.rows) == 9
    assert later.rows[0] == first.rows[0]
    assert list(later.manifest["variants"]) == ["trivial", "S64", "ridge"]
    assert later.manifest["reference"] == "trivial"  # so that all rows of the column mean the same
    assert len(later.manifest["starts"]) == 2
    assert decompositions(tmp_path, later.rows)["S64"].num_draws == 2


def test_another_config_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path, FULL, seeds=(0,))
    wider = symmetry("S64", Symmetric(), hidden_channels=3)
    with pytest.raises(ConfigError, match=r"S64 has model\.hidden_channels = 2 there, 3 now; choose another --out"):
        run(tmp_path, wider, seeds=(0,))
    with pytest.raises(ConfigError, match="the study has threads = 1 there, 2 now"):
        run(tmp_path, FULL, threads=2)
    with pytest.raises(ConfigError, match="the study has reference = 'S64' there, 'trivial' now"):
        run(tmp_path, FULL, NONE, reference="trivial")


def test_trials_of_other_code_are_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, FULL, seeds=(0,))
    run(tmp_path, FULL, seeds=(0,))
    assert "warning" not in capsys.readouterr().err
    monkeypatch.setattr("gnet.study.provenance.fingerprint", lambda: "another")
    run(tmp_path, FULL, seeds=(0,))
    assert "holds trials of another state of gnet's code" in capsys.readouterr().err


def test_the_data_may_move(tmp_path: Path) -> None:
    run(tmp_path, FULL, seeds=(0,))
    moved = copy.deepcopy(FULL.config)
    moved["data"]["init_args"]["root"] = "elsewhere"
    assert len(run(tmp_path, dataclasses.replace(FULL, config=moved), seeds=(0,)).rows) == 1


def test_more_metrics_and_settings_that_came_later_are_no_other_study(tmp_path: Path) -> None:
    run(tmp_path, FULL, seeds=(0,))
    later = copy.deepcopy(FULL.config)
    later["data"]["init_args"]["action_average"] = True
    later["model"]["weight_decay"] = 0.0  # its default, which the first config did not mention
    assert len(run(tmp_path, dataclasses.replace(FULL, config=later), seeds=(0,)).rows) == 1
    later["model"]["weight_decay"] = 0.1
    with pytest.raises(ConfigError, match=r"S64 has model\.weight_decay = 0\.0 there, 0\.1 now"):
        run(tmp_path, dataclasses.replace(FULL, config=later), seeds=(0,))


def test_somebody_elses_results_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("mine\n")
    with pytest.raises(ConfigError, match=r"has a results\.csv but no study\.json"):
        run(tmp_path)
    assert (tmp_path / "results.csv").read_text() == "mine\n"


def test_a_trial_that_fails_leaves_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = symmetry("wild", Trivial(), lr=1e38)
    wild.config["trainer"]["max_epochs"] = 3
    assert execute(plan(tmp_path, FULL, wild), MODULE) == 1
    shown = capsys.readouterr()
    assert "2 trials FAILED" in shown.err and "wild, draw 0, seed 0: FAILED: NonFiniteError" in shown.err
    assert [row.symmetry for row in read_rows(tmp_path / "results.csv")] == ["S64", "S64"]
    assert (tmp_path / "failures.csv").read_text().count("NonFiniteError") == 2
    assert "Traceback" in (tmp_path / "trials" / "wild" / "draw0-seed0.error.txt").read_text()
    assert "wild, draw 0, seed 0: NonFiniteError" in (tmp_path / "report.md").read_text()
    assert execute(plan(tmp_path, FULL), MODULE) == 0
    assert not (tmp_path / "failures.csv").exists()


def test_nothing_but_failures_is_reported_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = dataclasses.replace(FULL, config={**FULL.config, "data": {"class_path": "gnet.training.data.Digit"}})
    assert execute(plan(tmp_path, broken, seeds=(0,)), MODULE) == 1
    assert "No trial ended well; failures.csv says why." in capsys.readouterr().out


def test_every_trial_is_recorded_once(tmp_path: Path) -> None:
    record = tmp_path / "results" / "tiny.csv"
    run(tmp_path / "a", FULL, RIDGE, record=record, overrides="--model.lr 1")
    run(tmp_path / "a", FULL, RIDGE, record=record, overrides="--model.lr 1")
    run(tmp_path / "b", FULL, record=record, overrides="--model.lr 2")
    with open(record, newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["symmetry"], line["overrides"]) for line in lines] == [
        *[("S64", "--model.lr 1"), ("ridge", "--model.lr 1")] * 2,
        *[("S64", "--model.lr 2")] * 2,
    ]
    assert {line["config"] for line in lines} == {"tiny"}
    assert all(line["torch"] == torch.__version__ and line["processor"] and line["cores"] and line["revision"] for line in lines)
    assert all(line["date"].endswith("Z") for line in lines)


def test_predictions_come_in_the_units_of_the_study(tmp_path: Path) -> None:
    y = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    mask = torch.ones_like(y, dtype=torch.bool)
    np.savez(tmp_path / "test_set.npz", y=y.numpy(), mask=mask.numpy(), y_mean=np.float32([10]), y_std=np.float32([2]))
    other = Standardiser([4.0], [5.0])  # physical values are 2 y + 10

    def trained(target: torch.Tensor) -> Any:
        batch = Batch(y, other(2 * target + 10), mask)
        datamodule = SimpleNamespace(scaling=Scaling(other, other), predict_arrays=lambda: batch)
        return SimpleNamespace(datamodule=datamodule, predictions=other(2 * (y + 1) + 10).numpy())

    assert _in_units_of_study(trained(y), tmp_path / "test_set.npz") == pytest.approx((y + 1).numpy())
    with pytest.raises(ConfigError, match="the trial's test set is not that of the study"):
        _in_units_of_study(trained(y + 1), tmp_path / "test_set.npz")


def test_data_that_changed_under_the_same_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, FULL)
    monkeypatch.setattr(Digits, "describe", lambda self: {"name": "digits", "checksum": "another"})
    with pytest.raises(ConfigError, match=r"the data has checksum = .* there, 'another' now; choose another --out"):
        run(tmp_path, FULL)
