"""The traffic study, whole, on made-up sensors: both graphs, counted zeros, its metrics."""

import csv
from pathlib import Path

import numpy as np

from gnet.cli import main
from tests.datasets.small_traffic import write

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "traffic" / "metr_la.yaml")
SMALL = ["--data.every=1", "--data.batch_size=16", "--model.hidden_channels=4", "--trainer.max_epochs=1"]
VARIANTS = [
    "S207",
    "2 clusters",
    "9 clusters",
    "2 clusters, one weight (released)",
    "9 clusters, one weight (released)",
    "automatic",
]
BASELINES = ["gcn", "mlp_per_node", "last_value", "historical_average"]
N = 12  # the config joins each sensor to its 8 nearest before it makes nine clusters


def sensors(root: Path) -> Path:
    """A folder of N sensors on a road that bends, each with an edge to the next; every sixth reading is missing."""
    rng = np.random.default_rng(0)
    speed = np.where(rng.random((200, N)) < 1 / 6, 0, 20 + 40 * rng.random((200, N))).astype(np.float32)
    adj = np.eye(N, dtype=np.float32)
    adj[np.arange(N - 1), np.arange(1, N)] = np.linspace(0.15, 0.9, N - 1)
    names = np.array([str(700 + each) for each in range(N)])
    located = [[place, name, 34 + place / 100, -118 + place**2 / 1000] for place, name in enumerate(names)]
    minutes = 5 * np.arange(200, dtype=np.int32)
    root.mkdir(exist_ok=True)
    return write(root, speed=speed, minutes=minutes, adj=adj, sensor_id=names, adj_sensor_id=names, located=located)


def study(root: Path, variants: list[str], baselines: list[str], *options: str) -> dict[str, dict[str, str]]:
    """Rows of a small study, by symmetry."""
    words = ["study", "--config", CONFIG, *SMALL, f"--data.root={sensors(root)}", "--seeds", "1", "--jobs", "0", *options]
    assert main([*words, "--variants", *variants, "--baselines", *baselines, "--out", str(root / "out")]) == 0
    with (root / "out" / "results.csv").open(newline="") as file:
        return {row["symmetry"]: row for row in csv.DictReader(file)}


def errors(row: dict[str, str]) -> dict[str, float]:
    return {name: float(value) for name, value in (pair.split("=") for pair in row["metrics"].split(";"))}


def test_all_weights_of_the_table(tmp_path: Path) -> None:
    rows = study(tmp_path, VARIANTS, BASELINES)
    assert list(rows) == [*VARIANTS, *BASELINES]
    weights = {name: int(row["num_weights"]) for name, row in rows.items()}
    assert weights["2 clusters, one weight (released)"] == weights["S207"] < weights["2 clusters"] < weights["9 clusters"]
    for row in rows.values():
        found = errors(row)
        assert {f"{name}_{step}" for name in ("mae", "rmse", "mape") for step in (1, 2, 3)} <= set(found)
        assert min(found[f"mae_{step}"] for step in (1, 2, 3)) <= found["mae"] <= max(found[f"mae_{step}"] for step in (1, 2, 3))
        assert 0 < found["mae"] <= found["rmse"]
    assert (tmp_path / "out" / "outputs.png").stat().st_size > 5000


def test_another_graph_and_counted_zeros_are_other_numbers(tmp_path: Path) -> None:
    full = study(tmp_path / "full", ["S207"], ["last_value"])
    sparse = study(tmp_path / "sparse", ["S207"], ["last_value"], "--data.graph", "sparse")
    counted = study(tmp_path / "counted", ["S207"], ["last_value"], "--data.count_missing", "true")
    assert sparse["S207"]["test_loss"] != full["S207"]["test_loss"]
    assert sparse["last_value"]["test_loss"] == full["last_value"]["test_loss"]  # it sees no edge
    # Every sixth reading is missing: taken for 0 mph it is far from any forecast.
    assert errors(counted["last_value"])["mae"] > errors(full["last_value"])["mae"] + 1
