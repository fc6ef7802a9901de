"""``study`` from the command line: the table, the files, and what it says when something is wrong."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gnet.cli import main
from gnet.study import run as running

ROOT = Path(__file__).resolve().parents[2]
DIGITS = str(ROOT / "configs" / "inpainting" / "digits.yaml")
SMALL = [
    "--data.num_train",
    "12",
    "--data.num_val",
    "10",
    "--data.num_test",
    "20",
    "--model.hidden_channels",
    "2",
    "--trainer.max_epochs",
    "1",
]


def study(out: Path, *words: str, config: str = DIGITS) -> int:
    """In this process (``--jobs 0``): starting workers is tested elsewhere."""
    return main(["study", "--config", config, *SMALL, "--jobs", "0", "--out", str(out), *words])


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_main_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study(tmp_path, "--clusters", "1", "4", "64", "--seeds", "2", "--draws", "2") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].split()[:3] == ["symmetry", "clusters", "weights"]
    assert "Best symmetry: " in shown
    assert "bias_variance.png" in shown and "outputs.png" in shown
    rows = read(tmp_path / "results.csv")
    header = (tmp_path / "results.csv").read_text().splitlines()[0]
    assert header.startswith("symmetry,num_clusters,draw,seed,val_loss,test_loss,num_weights,equivariance_error,seconds")
    assert [row["symmetry"] for row in rows[::4]] == ["S64", "S16^4", "trivial", "gcn", "mlp_per_node", "ridge", "mean"]
    assert [row["num_clusters"] for row in rows[::4]] == ["1", "4", "64", "1", "64", "64", "64"]
    assert [(row["draw"], row["seed"]) for row in rows[:4]] == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    for line in read(tmp_path / "summary.csv"):
        assert line["n"] == "4" and line["num_draws"] == "2"
        assert float(line["variance_between_draws"]) + float(line["variance_between_seeds"]) == pytest.approx(
            float(line["variance"])
        )
    report = (tmp_path / "report.md").read_text()
    for item in (
        "bias^2 contains the irreducible part",
        "## Data and splits",
        "random state 999",
        "git revision",
        "machine: ",
        "torch ",
        "--clusters 1 4 64",
        '"max_epochs": 1',
        "Best symmetry: ",
        "(bias_variance.png)",
    ):
        assert item in report
    for name in ("bias_variance.png", "outputs.png", "bias_variance.pdf", "outputs.pdf"):
        assert (tmp_path / name).stat().st_size > 5000 and name in shown


def test_one_draw_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--clusters", "1", "64", "--no-baselines", "--first-seed", "5", "--no-checkpoints", "--study_seed", "3")
    assert study(tmp_path, *words, "--seeds", "2") == 0
    assert "so there is no interior optimum to find" in capsys.readouterr().out
    assert [row["seed"] for row in read(tmp_path / "results.csv")] == ["5", "6", "5", "6"]
    assert "conditional on this one training set" in (tmp_path / "report.md").read_text()
    assert not list(tmp_path.glob("trials/*/*.ckpt"))


def test_variants_come_from_the_config(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        Path(DIGITS).read_text()
        + "study:\n  seeds: 1\n  baselines: [ridge]\n  variants:\n"
        + "    S64: {model.symmetry: Symmetric}\n    narrow: {model.symmetry: Trivial, model.hidden_channels: 1}\n"
    )
    assert study(tmp_path / "out", config=str(config)) == 0
    rows = read(tmp_path / "out" / "results.csv")
    assert [row["symmetry"] for row in rows] == ["S64", "narrow", "ridge"]
    assert rows[1]["num_weights"] == str(2 * 64 * 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--clusters", "5"], "needs a square number of clusters, got 5"),
        (["--clusters", "100"], "expected at most one cluster per node, got num_clusters=100 for 64 nodes"),
        (["--clusters", "0"], "expected num_clusters >= 1, got 0"),
        (["--clusters", "1", "--reference", "S4"], "expected --reference to be one of S64, got S4"),
        (["--clusters", "1", "--seeds", "0"], "expected --seeds >= 1"),
        (["--clusters", "1", "--baselines", "lasso"], "unknown baseline lasso"),
        (["--model.hiden_channels", "3"], "did you mean"),
    ],
)
def test_bad_options_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert study(tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.csv").exists()


def test_an_unknown_study_key_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(Path(DIGITS).read_text() + "study: {sedes: 3}\n")
    assert study(tmp_path / "out", config=str(config)) == 2
    assert "unknown key study.sedes; did you mean seeds?" in capsys.readouterr().err


def test_control_c_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(function: Any, tasks: Any, **_: Any) -> Iterator[Any]:
        yield tasks[0], function(tasks[0])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "run_tasks", interrupted)
        assert study(tmp_path, "--clusters", "1", "64", "--seeds", "1", "--no-baselines") == 130
    assert "1 trials are kept. Start again with the same command to go on." in capsys.readouterr().err
    assert study(tmp_path, "--clusters", "1", "64", "--seeds", "1", "--no-baselines") == 0
    assert len(read(tmp_path / "results.csv")) == 2
