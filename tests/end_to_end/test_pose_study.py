"""The pose study, whole, on poses of a kinematic tree: every group of the table, its metrics and the picture."""

import csv
from pathlib import Path

import numpy as np

from datasets.skeleton import HUMAN36M_16
from gnet.cli import main

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "pose" / "cmu.yaml")
SMALL = ["--data=datasets.KinematicTree", "--data.num_train=20", "--data.num_val=5", "--data.num_test=8"]
SMALL += ["--model.hidden_channels=4", "--model.num_layers=4", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]


def test_all_groups_of_the_skeleton(tmp_path: Path) -> None:
    assert (
        main(["study", "--config", CONFIG, *SMALL, "--seeds", "1", "--jobs", "0", "--baselines", "mean", "--out", str(tmp_path)])
        == 0
    )
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = {row["symmetry"]: row for row in csv.DictReader(file)}
    groups = ["S16", "(S6)^2", "relaxed S16", "(S2)^2", "trivial", "S16, self", "(S2)^2, self", "trivial, self"]
    groups += ["S16, means", "(S6)^2, means", "S16, self, means", "automatic"]
    assert list(rows) == [*groups, "mean"]
    clusters = [int(rows[name]["num_clusters"]) for name in groups]
    assert clusters == [1, 6, 1, 10, 16, 1, 10, 16, 1, 6, 1, 1]
    for row in rows.values():
        named = dict(pair.split("=") for pair in row["metrics"].split(";"))
        assert 0 < float(named["p_mpjpe_mm"]) < float(named["mpjpe_mm"])  # a similarity cannot make it worse
    with np.load(tmp_path / "test_set.npz") as stored:
        assert np.array_equal(stored["bones"], HUMAN36M_16.graph().edge_index.numpy())
    assert (tmp_path / "outputs.png").stat().st_size > 5000
