"""Trials of a study trained at once give the study that they give one by one."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnet.errors import ConfigError
from gnet.study import stacks
from gnet.study.command import DEFAULTS, parse
from gnet.study.journal import read_rows
from gnet.study.plan import Variant
from gnet.study.run import StudyResult
from gnet.study.stacks import MOST_WEIGHTS, Progress, Stack, plan_stacks, why_variant_alone
from gnet.study.trials import Task, trial_path
from gnet.training.checkpoint import read
from gnet.training.stacked import StackedFit, make_member
from gnet.training.symmetry import Coarsened, GivenPartition, Symmetric
from tests.study.test_run import FULL, MODULE, NONE, RIDGE, plan, run, symmetry

GCN = Variant("gcn", "baseline", FULL.config, {}, None)
EPOCHS = 8


def longer(variant: Variant, **trainer: Any) -> Variant:
    config = copy.deepcopy(variant.config)
    config["trainer"] |= {"max_epochs": EPOCHS, **trainer}
    return dataclasses.replace(variant, config=config)


def with_data(variant: Variant, **data: Any) -> Variant:
    config = copy.deepcopy(variant.config)
    config["data"]["init_args"] |= data
    return dataclasses.replace(variant, config=config)


def assert_same(one: Path, other: Path, rtol: float = 1e-5) -> None:
    """Two folders hold the same study but for rounding: rows, predictions, weights."""
    rows = [read_rows(each / "results.csv") for each in (one, other)]
    assert [row.key for row in rows[0]] == [row.key for row in rows[1]]
    for a, b in zip(*rows, strict=True):
        exact = ("num_clusters", "num_weights", "kind", "run_seed")
        assert [getattr(a, name) for name in exact] == [getattr(b, name) for name in exact]
        for name in ("val_loss", "test_loss"):
            assert getattr(a, name) == pytest.approx(getattr(b, name), rel=rtol)
        assert a.equivariance_error == pytest.approx(b.equivariance_error, rel=1e-4, abs=1e-12)
        predictions = [np.load(trial_path(each, a.key)) for each in (one, other)]
        assert np.abs(predictions[0] - predictions[1]).max() <= rtol * np.abs(predictions[0]).max()
    files = [sorted(file.relative_to(each) for file in each.glob("trials/*/*") if file.suffix != ".txt") for each in (one, other)]
    assert files[0] == files[1]


def both(tmp_path: Path, *variants: Variant, **settings: Any) -> list[StudyResult]:
    return [run(tmp_path / name, *variants, vectorize=name == "at_once", **settings) for name in ("alone", "at_once")]


def test_a_study_at_once_is_the_study_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both(tmp_path, *[longer(each) for each in (FULL, NONE, GCN, RIDGE)])
    assert_same(tmp_path / "alone", tmp_path / "at_once")
    assert not (tmp_path / "at_once" / "stacks").exists()
    said = capsys.readouterr().err
    assert "note: ridge is trained one by one: it is fitted in closed form" in said and said.count("note:") == 1
    checkpoints = [read(trial_path(tmp_path / name, ("trivial", 0, 1), ".ckpt")) for name in ("alone", "at_once")]
    one, other = checkpoints
    assert one.keys() == other.keys()
    assert (one["epoch"], one["global_step"]) == (other["epoch"], other["global_step"])
    for key, value in one["state_dict"].items():
        assert torch.allclose(value, other["state_dict"][key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "variant",
    [
        with_data(longer(NONE), batch_size=5),
        longer(NONE, gradient_clip_val=0.1),
        longer(NONE, gradient_clip_val=0.01, gradient_clip_algorithm="value"),
        longer(symmetry("kept", Coarsened(4, "patches"), keep="last", loss="mae", weight_decay=0.1)),
        longer(symmetry("projected", Coarsened(4, "patches"), num_layers=1, project_onto=Symmetric().as_config())),
        longer(symmetry("near", Coarsened(4, "patches"), layer="residual", relaxation=None)),
        longer(symmetry("graph", Coarsened(4, "patches"), propagate="edge_weights", residual=True, num_layers=3)),
        longer(symmetry("normed", Coarsened(4, "patches"), norm="layer", hidden_channels=4)),
        longer(symmetry("reference", Coarsened(4, "patches"), parametrization="reference", init="reference", bias="shared")),
    ],
    ids=["batches", "clipped", "clipped_by_value", "last", "projected", "near_a_group", "graph", "normed", "reference"],
)
def test_nets_and_settings(tmp_path: Path, variant: Variant, capsys: pytest.CaptureFixture[str]) -> None:
    both(tmp_path, variant, seeds=(0,), draws=2)
    assert "note:" not in capsys.readouterr().err
    assert_same(tmp_path / "alone", tmp_path / "at_once")


def test_optimiser_schedule_and_early_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss", "patience": 1}}
    variant = with_data(longer(NONE, callbacks=[stop], max_epochs=40), batch_size=5)
    variant.config["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.3, "momentum": 0.9}}
    variant.config["lr_scheduler"] = {
        "class_path": "torch.optim.lr_scheduler.StepLR",
        "init_args": {"step_size": 3, "gamma": 0.5},
    }
    variant.config["model"]["lr_interval"] = "step"
    both(tmp_path, variant, seeds=(0, 1, 2, 3))
    assert "note:" not in capsys.readouterr().err
    assert_same(tmp_path / "alone", tmp_path / "at_once")
    epochs = [read(trial_path(tmp_path / "at_once", ("trivial", 0, seed), ".ckpt"))["epoch"] for seed in range(4)]
    assert len(set(epochs)) > 1 and max(epochs) < 40  # each by itself


def test_symmetries_of_one_shape_share_a_stack(tmp_path: Path) -> None:
    """Clusters of the same sizes at other places: what tells the groups apart lies in buffers."""
    rows = torch.arange(64) // 16
    files = [tmp_path / "rows.npy", tmp_path / "mixed.npy"]
    generator = torch.Generator().manual_seed(0)
    for file, labels in zip(files, (rows, *(rows[torch.randperm(64, generator=generator)] for _ in range(1))), strict=True):
        np.save(file, labels.numpy())
    variants = [longer(symmetry(file.stem, GivenPartition(str(file)))) for file in files]
    stacks_made, _ = plan_stacks([a_task(tmp_path, each, seed) for each in variants for seed in (0, 1)], MODULE, jobs=1)
    assert [len(stack.tasks) for stack in stacks_made] == [4]
    both(tmp_path, *variants)
    assert_same(tmp_path / "alone", tmp_path / "at_once")


def test_a_liar_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack whose second trial sees the batches of the first one is another study."""
    variant = with_data(longer(NONE), batch_size=5)
    run(tmp_path / "alone", variant)
    honest = StackedFit.__post_init__

    def lying(fit: StackedFit) -> None:
        honest(fit)
        fit.splits["train"].seeds = [fit.splits["train"].seeds[0]] * len(fit.members)

    monkeypatch.setattr(StackedFit, "__post_init__", lying)
    run(tmp_path / "lie", variant, vectorize=True)
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "alone", tmp_path / "lie")


def test_one_trial_that_becomes_nan_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "alone", longer(NONE), seeds=(0, 2))
    honest = StackedFit.__post_init__

    def poisoned(fit: StackedFit) -> None:
        honest(fit)
        arrays = fit.splits["train"].arrays
        assert arrays is not None
        arrays[0][1, 3] = float("inf")

    monkeypatch.setattr(StackedFit, "__post_init__", poisoned)
    result = run(tmp_path / "at_once", longer(NONE), seeds=(0, 1, 2), vectorize=True)
    [(key, failure)] = result.failures.items()
    assert (
        key == ("trivial", 0, 1)
        and "NonFiniteError: the net's loss is NaN or infinite in train batch 0 of epoch 0" in failure.message
    )
    assert_same(tmp_path / "alone", tmp_path / "at_once")
    monkeypatch.undo()
    run(tmp_path / "alone", longer(NONE), seeds=(1,))
    assert not run(tmp_path / "at_once", longer(NONE), seeds=(1,), vectorize=True).failures
    assert_same(tmp_path / "alone", tmp_path / "at_once")


def test_a_stack_goes_on_where_it_was_stopped_also_as_a_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss", "patience": 50}}
    variant = with_data(longer(NONE, callbacks=[stop]), batch_size=5)
    variant.config["lr_scheduler"] = {
        "class_path": "torch.optim.lr_scheduler.StepLR",
        "init_args": {"step_size": 3, "gamma": 0.5},
    }
    run(tmp_path / "whole", variant, seeds=(0, 1, 2))
    honest, trained = Progress.write, []

    def stopped(progress: Progress, fit: StackedFit) -> None:
        honest(progress, fit)
        trained.append(fit.epoch)
        if fit.epoch == 5 and len(trained) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "write", stopped)
    settings = {"vectorize": True, "progress_seconds": 0.0}
    out = tmp_path / "at_once"
    with pytest.raises(KeyboardInterrupt):
        run(out, variant, seeds=(0, 1, 2), **settings)
    assert len(list(out.glob("stacks/*.last.ckpt"))) == 1
    (out / "stacks" / next(out.glob("stacks/*")).name.replace(".last", "x.last")).write_bytes(b"damaged")
    run(out, variant, seeds=(1, 2), **settings)
    assert trained == [1, 2, 3, 4, 5, *range(6, EPOCHS + 1)]
    run(out, variant, seeds=(0, 1, 2), **settings)
    assert_same(tmp_path / "whole", out)


def test_what_cannot_be_traced_is_trained_one_by_one_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("this net looks at its numbers\nand more")

    monkeypatch.setattr("gnet.training.program.Programs.gradients", refuse)
    both(tmp_path, longer(NONE))
    said = capsys.readouterr().err
    assert "note: trivial is trained one by one: RuntimeError: this net looks at its numbers\n" in said
    assert_same(tmp_path / "alone", tmp_path / "at_once", rtol=0.0)


def test_a_step_that_is_not_the_module_s_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The traced gradient is compared with that of the module, of the last trial of the stack."""
    members = [make_member({**longer(NONE).config, "seed_everything": seed}) for seed in (0, 1)]
    fit = StackedFit(members)
    members[0].module.net.blocks[0].act = "tanh"  # what is traced
    fit.programs.module = members[1].module  # what it is compared with
    with pytest.raises(ConfigError, match=r"has another gradient for blocks\.0\.linear"):
        fit.run()


def test_a_batch_in_which_nothing_counts_weighs_nothing() -> None:
    fit = StackedFit([make_member({**longer(NONE).config, "seed_everything": seed}) for seed in (0, 1)])
    x, y, mask = next(fit.splits["val"].batches())
    total, count, finite = fit.programs.losses(fit.params, (x, y, torch.zeros_like(mask)))
    assert total.tolist() == [0, 0] and count.tolist() == [0, 0] and bool(finite.all())
    assert fit.programs.losses(fit.params, (x, y, mask))[1].min() > 0


def test_batches_are_made_one_after_the_other() -> None:
    fit = StackedFit([make_member({**with_data(longer(NONE), batch_size=5).config, "seed_everything": 0})])
    made, honest = [], type(fit.splits["train"])._batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(fit.splits["train"]), "_batch", lambda split, indices: made.append(1) or honest(split, indices))
        batches = fit.splits["train"].batches(0)
        next(batches)
        assert len(made) == 1 < len(fit.splits["train"])


def test_a_stack_whose_worker_dies_is_tried_in_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, honest = [], stacks.perform_stack

    def dying(stack: Stack) -> Any:
        tried.append((len(stack.tasks), stack.alone))
        if len(stack.tasks) > 1:
            raise MemoryError("the machine is full")
        return honest(stack)

    monkeypatch.setattr("gnet.study.run.perform_stack", dying)
    assert not run(tmp_path / "at_once", longer(NONE), seeds=(0, 1, 2), vectorize=True).failures
    assert tried == [(3, False), (1, False), (2, False), (1, False), (1, False)]
    assert "note: a stack of 3 is tried in smaller parts: MemoryError: the machine is full" in capsys.readouterr().err
    run(tmp_path / "alone", longer(NONE), seeds=(0, 1, 2))
    assert_same(tmp_path / "alone", tmp_path / "at_once")
    single = Stack(plan_stacks([a_task(tmp_path, longer(NONE), 0)], MODULE, jobs=1)[0][0].tasks)
    assert [each.alone for each in stacks.smaller(single)] == [True] and not stacks.smaller(stacks.smaller(single)[0])


def test_a_stack_that_is_killed_after_its_last_epoch_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stacks, "_row", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "at_once", longer(NONE), seeds=(0, 1), vectorize=True, progress_seconds=0.0)
    monkeypatch.setattr(StackedFit, "_train_epoch", killed)
    assert not run(tmp_path / "at_once", longer(NONE), seeds=(0, 1), vectorize=True, progress_seconds=0.0).failures
    monkeypatch.undo()
    run(tmp_path / "alone", longer(NONE), seeds=(0, 1))
    assert_same(tmp_path / "alone", tmp_path / "at_once")


def test_stacks_are_cut_by_the_weights_that_nets_really_have(tmp_path: Path) -> None:
    near = longer(symmetry("near", Coarsened(4, "patches"), layer="residual", relaxation=None))
    exact = longer(symmetry("exact", Coarsened(4, "patches")))
    counts = [stacks.num_parameters(each, MODULE) for each in (near, exact, GCN, RIDGE)]
    member = make_member({**near.config, "seed_everything": 0})
    assert counts[0] == sum(each.numel() for each in member.module.net.parameters()) > 64**2 > counts[1] > counts[3] == 0
    assert counts[2] > 0


def a_task(out: Path, variant: Variant, seed: int) -> Task:
    return Task(variant, 0, seed, out, 1, MODULE.graph, 0, False, "code", 180.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"dropout": 0.1}}, "dropout draws noise"),
        ({"model": {"norm": "batch"}}, "batch norm keeps running moments"),
        ({"model": {"architecture": "gru"}}, "a recurrent net is shown the truth"),
        ({"trainer": {"max_steps": 5}}, "trainer.max_steps=5 is left to Lightning"),
        ({"trainer": {"max_epochs": -1}}, "trainer.max_epochs=-1 has no end"),
        (
            {"trainer": {"val_check_interval": 1}},
            "trainer.val_check_interval=1 is left to Lightning",
        ),  # every batch; 1.0 is usual
        ({"trainer": {"limit_train_batches": 1}}, "trainer.limit_train_batches=1 is left to Lightning"),
        ({"trainer": {"precision": "bf16-mixed"}}, "trainer.precision='bf16-mixed' is left to Lightning"),
        ({"trainer": {"callbacks": [{"class_path": "lightning.pytorch.callbacks.Timer"}]}}, "the callback Timer looks into"),
        ({"optimizer": {"class_path": "torch.optim.LBFGS"}}, "the optimiser LBFGS does not move each weight by itself"),
        ({"lr_scheduler": {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau"}}, "ReduceLROnPlateau gives each trial"),
    ],
)
def test_reasons_to_stay_alone(change: dict[str, dict[str, Any]], reason: str) -> None:
    config = copy.deepcopy(NONE.config)
    for part, values in change.items():
        config.setdefault(part, {}).update(values)
    assert (why_variant_alone(dataclasses.replace(NONE, config=config)) or "").startswith(reason)
    assert why_variant_alone(NONE) is None


def test_stacks_are_cut_by_weights_and_by_jobs_the_largest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [a_task(tmp_path, each, seed) for seed in range(6) for each in (FULL, NONE, RIDGE)]

    def sizes(jobs: int) -> list[tuple[str, int]]:
        made, _ = plan_stacks(tasks, MODULE, jobs)
        assert sorted(str(task.key) for stack in made for task in stack.tasks) == sorted(str(task.key) for task in tasks)
        return [(stack.tasks[0].variant.name, len(stack.tasks)) for stack in made if not stack.alone]

    assert sizes(2) == [("trivial", 6), ("S64", 6)]
    assert sizes(4) == [("trivial", 3), ("trivial", 3), ("S64", 3), ("S64", 3)]
    monkeypatch.setattr(stacks, "MOST_WEIGHTS", 2 * stacks.num_parameters(NONE, MODULE))
    assert sizes(1)[:3] == [("trivial", 2)] * 3
    assert MOST_WEIGHTS > 784**2 and isinstance(tasks[0], Task) and not Stack((tasks[0],)).alone


def test_the_option(tmp_path: Path) -> None:
    assert parse(["--vectorize"])[0] == {"vectorize": True} and DEFAULTS["vectorize"] is False
    assert plan(tmp_path, vectorize=True).vectorize
    run(tmp_path, longer(NONE), vectorize=True)
    before = (tmp_path / "results.csv").read_text()
    run(tmp_path, longer(NONE))  # a study goes on with the option or without
    assert (tmp_path / "results.csv").read_text() == before
    assert "vectorize" not in json.dumps(json.loads((tmp_path / "study.json").read_text())["variants"])
