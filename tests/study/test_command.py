"""The words after ``study``: which are its own, which are passed on, and where each default comes from."""

import copy
from pathlib import Path
from typing import Any

import pytest

from gnet.errors import ConfigError
from gnet.study.command import make_plan, parser
from gnet.study.plan import Plan

BASE: dict[str, Any] = {
    "model": {
        "symmetry": {"class_path": "gnet.training.symmetry.Coarsened", "init_args": {"num_clusters": 16, "method": "patches"}}
    },
    "data": {"class_path": "gnet.training.data.Digits", "init_args": {}},
}


def plan_of(*words: str, study: dict[str, Any] | None = None) -> tuple[Plan, list[str]]:
    """The plan, and the words that ``resolve_config`` was given first."""
    asked: list[list[str]] = []

    def resolve(argv: list[str]) -> dict[str, Any]:
        asked.append(list(argv))
        return copy.deepcopy(BASE) | ({} if study is None else {"study": study})

    given, rest = parser().parse_known_args(list(words))
    plan, _ = make_plan(vars(given), rest, resolve, command="study")
    return plan, asked[-1]


def test_what_study_does_not_know_is_passed_on() -> None:
    plan, words = plan_of(
        "--config", "a.yaml", "--seeds", "3", "--trainer.max_epochs", "5", "--data.root", "/here", "--model.lr=1"
    )
    assert words == ["--config", "a.yaml", "--trainer.max_epochs", "5", "--data.root", "/here", "--model.lr=1"]
    assert plan.overrides == "--trainer.max_epochs 5 --model.lr=1"
    assert plan.config_name == "a" and plan.out == Path("studies/a")
    assert plan.seeds == (0, 1, 2)


def test_defaults_are_those_of_the_help() -> None:
    plan, _ = plan_of()
    assert (len(plan.seeds), plan.draws, plan.jobs, plan.threads) == (10, 1, 2, 1)
    assert [variant.name for variant in plan.variants] == ["S4^16", "gcn", "mlp_per_node", "ridge", "mean"]
    assert plan.out == Path("studies/digits")


def test_the_config_stands_between_defaults_and_words() -> None:
    study = {"seeds": 4, "draws": 3, "baselines": False, "study_seed": 7}
    plan, words = plan_of("--draws", "2", "--first-seed", "5", study=study)
    assert plan.seeds == (5, 6, 7, 8) and plan.draws == 2
    assert [variant.name for variant in plan.variants] == ["S4^16"]
    assert words == ["--data.study_seed=7"]
    _, words = plan_of("--study_seed", "9", study=study)
    assert words == ["--data.study_seed=9"]
    assert len(plan_of(study={"baselines": True})[0].variants) == 5


def test_abbreviations_are_no_options() -> None:
    _, words = plan_of("--seed", "3")
    assert words == ["--seed", "3"]  # for fit's parser, which says what was probably meant


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown key study\.cluster; did you mean clusters\? The keys are baselines, "):
        plan_of(study={"cluster": [1]})
