"""The configs of a user's own files, from ``sample.py`` to predictions and a study, as the README types them."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

import gnet
from gnet.cli import main, resolve_config
from gnet.nn import InvariantLinear
from gnet.study.journal import parse_metrics, read_rows
from gnet.training.trial import instantiate

CUSTOM = Path(__file__).parents[2] / "configs" / "custom"
QUICK = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the small files."""
    folder = tmp_path_factory.mktemp("custom")
    done = subprocess.run([sys.executable, CUSTOM / "sample.py", folder], capture_output=True, text=True, check=True)
    names = {"edges.csv", "signals.csv", "counts.csv", "states.csv", "delays.csv"}
    assert {path.name for path in folder.iterdir()} == names
    assert all(str(folder / name) in done.stdout for name in names)
    return folder


@pytest.fixture
def folder(written: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(written)
    return written


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def words(name: str, *more: str) -> list[str]:
    return [f"--config={CUSTOM / name}.yaml", *QUICK, *more]


@pytest.mark.parametrize("name", ["signals", "classify", "regress"])
def test_the_config_finds_the_districts(name: str, folder: Path):
    config = resolve_config([f"--config={CUSTOM / name}.yaml"])
    data, rule = instantiate(config["data"]), instantiate(config["model"]["symmetry"])
    partition = rule(data.graph, data.grid_shape).partition
    assert partition == gnet.Partition([node // 3 for node in range(12)])


def test_states_of_every_sensor(folder: Path, capsys: pytest.CaptureFixture[str]):
    root = f"--trainer.default_root_dir={folder / 'states'}"
    assert main(["fit", *words("classify", root, "--trainer.max_epochs=30")]) == 0
    assert main(["test", *words("classify", root, "--ckpt_path=best")]) == 0
    shown = capsys.readouterr().out
    assert "test_accuracy" in shown and "test_f1_macro" in shown and "test_mae" not in shown
    assert main(["predict", *words("classify", root, "--ckpt_path=best", "--predictions.output=found.csv")]) == 0
    rows, given = table("found.csv"), table("states.csv")
    assert list(rows[0]) == ["sample", "node", "prediction", "probability", "target"]
    assert [row["target"] for row in rows] == [row[node] for row in given for node in row if node != "time"]
    assert {row["prediction"] for row in rows} == {"calm", "busy", "jammed"}
    right = [row["prediction"] == row["target"] for row in rows if row["target"]]
    assert sum(right) / len(right) > 0.6  # the most frequent state is right in about 4 of 10


def test_one_delay_for_the_whole_road(folder: Path):
    root = f"--trainer.default_root_dir={folder / 'delays'}"
    assert main(["fit", *words("regress", root, "--trainer.max_epochs=30")]) == 0
    assert main(["test", *words("regress", root, "--ckpt_path=best")]) == 0
    assert main(["predict", *words("regress", root, "--ckpt_path=best", "--predictions.output=delay.csv")]) == 0
    rows, given = table("delay.csv"), table("delays.csv")
    assert [(row["sample"], float(row["target"])) for row in rows] == [(row["time"], float(row["delay"])) for row in given]
    assert {row["node"] for row in rows} == {""}
    net = gnet.load(next((folder / "delays").rglob("best.ckpt")))
    assert isinstance(net.net.blocks[-1], InvariantLinear)
    assert net.classes is None


@pytest.mark.parametrize(("name", "metrics"), [("classify", {"accuracy", "f1_macro"}), ("regress", set())])
def test_a_tiny_study(name: str, metrics: set[str], folder: Path):
    out = folder / "study" / name
    more = ["--clusters", "1", "4", "12", "--seeds=1", "--jobs=0", f"--out={out}", "--baselines", "mean"]
    assert main(["study", *words(name, *more, "--trainer.max_epochs=60")]) == 0
    rows = {row.symmetry: row for row in read_rows(out / "results.csv")}
    assert list(rows) == ["S12", "S3^4", "trivial", "mean"]
    assert all(set(parse_metrics(row.metrics)) == metrics for row in rows.values())
    assert rows["S3^4"].test_loss < min(rows["S12"].test_loss, rows["mean"].test_loss)
