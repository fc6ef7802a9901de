"""2 + 2 epochs are 4 epochs, to the bit: shuffled batches, dropout, optimiser, best weights."""

from pathlib import Path

import torch

from gnet.cli import main

SMALL = [
    "--config=gnet:digits", "--data.num_train=20", "--data.num_val=11", "--data.num_test=23", "--data.batch_size=8",
    "--model.hidden_channels=3", "--model.dropout=0.3", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    "--seed_everything=5",
]  # fmt: skip


def fit(folder: Path, epochs: int, *arguments: str) -> dict:
    assert main(["fit", *SMALL, f"--trainer.default_root_dir={folder}", f"--trainer.max_epochs={epochs}", *arguments]) == 0
    newest = max((folder / "lightning_logs").iterdir(), key=lambda path: int(path.name.rpartition("_")[2]))
    return torch.load(newest / "checkpoints" / "last.ckpt", weights_only=True)


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)  # type: ignore[arg-type]
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)  # type: ignore[attr-defined]
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))  # type: ignore[arg-type]
    return first == second


def test_two_and_two_epochs_are_four(tmp_path: Path):
    whole = fit(tmp_path / "whole", 4)
    half = fit(tmp_path / "parts", 2)
    assert not same(half["state_dict"], whole["state_dict"])
    torch.rand(5)  # whatever happened in between
    last = tmp_path / "parts" / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
    resumed = fit(tmp_path / "parts", 4, f"--ckpt_path={last}")
    for part in ("state_dict", "optimizer_states", "epoch", "global_step", "hyper_parameters"):
        assert same(resumed[part], whole[part]), part
    kept = [each["callbacks"]["BestWeights[val_loss]"] for each in (resumed, whole)]
    assert same(*kept)
    both = [torch.load(tmp_path / run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for run in (
        "parts/lightning_logs/version_1", "whole/lightning_logs/version_0")]  # fmt: skip
    assert same(*both)


def test_another_seed_is_another_run(tmp_path: Path):
    assert not same(fit(tmp_path / "a", 1)["state_dict"], fit(tmp_path / "b", 1, "--seed_everything=6")["state_dict"])
