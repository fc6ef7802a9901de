"""The words after ``study``: which are its own, which are passed on, and where each default comes from."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnet.errors import ConfigError
from gnet.study.command import DEFAULTS, KINDS, main, make_plan, parse, refuse_unknown
from gnet.study.plan import Plan

BASE: dict[str, Any] = {
    "model": {
        "symmetry": {"class_path": "gnet.training.symmetry.Coarsened", "init_args": {"num_clusters": 16, "method": "patches"}}
    },
    "data": {"class_path": "gnet.training.data.Digits", "init_args": {}},
}


def plan_of(*words: str, study: dict[str, Any] | None = None, data: dict[str, Any] | None = None) -> tuple[Plan, list[str]]:
    """The plan, and the words that ``resolve_config`` was given first."""
    asked: list[list[str]] = []

    def resolve(argv: list[str]) -> dict[str, Any]:
        asked.append(list(argv))
        return copy.deepcopy(BASE) | ({} if study is None else {"study": study}) | ({} if data is None else {"data": data})

    plan, _ = make_plan(*parse(words), resolve, command="study")
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


def test_baselines_of_the_config_may_have_overrides_of_their_own() -> None:
    study = {"baselines": {"gcn": {"model.num_layers": 3}, "ridge": None}}
    plan, words = plan_of(study=study)
    assert [(variant.name, variant.overrides) for variant in plan.variants[1:]] == [
        ("gcn", {"model.num_layers": 3}),
        ("ridge", {}),
    ]
    assert words == ["--model.num_layers=3"]
    plan, _ = plan_of("--baselines", "mean", "gcn", study=study)  # the words choose, the config says how
    assert [(variant.name, variant.overrides) for variant in plan.variants[1:]] == [
        ("mean", {}),
        ("gcn", {"model.num_layers": 3}),
    ]
    with pytest.raises(ConfigError, match=r"unknown baseline gnc; did you mean gcn\?"):
        plan_of("--baselines", "mean", study={"baselines": {"gnc": {}}})
    with pytest.raises(ConfigError, match=r"study\.baselines: expected overrides like \{model\.num_layers: 2\} for gcn, got 2"):
        plan_of(study={"baselines": {"gcn": 2}})
    for name, key in (("gcn", "model.norm"), ("mlp_per_node", "model.symmetry.num_clusters"), ("ridge", "model.num_layers")):
        with pytest.raises(ConfigError, match=rf"study\.baselines: {name} does not read {re.escape(key)}; leave it out"):
            plan_of(study={"baselines": {name: {key: 3}}})


def test_a_variant_that_no_net_can_have_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BASE["model"], "released", True)
    with pytest.raises(ConfigError, match="architecture='gnet' does not read released=True"):
        plan_of()


def test_some_of_the_variants_are_chosen_by_name() -> None:
    study = {
        "variants": {name: {"model.hidden_channels": width} for name, width in (("narrow", 2), ("two, three", 3), ("wide", 9))}
    }
    plan, _ = plan_of("--no-baselines", "--variants", "wide", "two, three", study=study)
    assert [variant.name for variant in plan.variants] == ["two, three", "wide"]
    with pytest.raises(ConfigError, match=r"no variant wild; did you mean wide\? The config has narrow, two, three, wide"):
        plan_of("--variants", "wild", study=study)
    with pytest.raises(ConfigError, match="The config names none"):
        plan_of("--variants", "wide")
    with pytest.raises(ConfigError, match="--clusters takes their place; give one of the two"):
        plan_of("--variants", "wide", "--clusters", "4", study=study)


def test_forecasts_have_the_last_value_as_a_baseline(tmp_path: Path) -> None:
    np.savez(tmp_path / "series.npz", x=np.random.default_rng(0).standard_normal((80, 16, 1)))
    (tmp_path / "edges.csv").write_text("source,target\n" + "".join(f"{node},{node + 1}\n" for node in range(15)))
    settings = {"root": str(tmp_path), "signals": "series.npz", "edges": "edges.csv", "task": "forecast"}
    data = {"class_path": "gnet.training.data.FromFiles", "init_args": settings | {"horizon_in": 2, "horizon_out": 1}}
    study = {"variants": {"none": {"model.symmetry": "Trivial"}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BASE["model"], "symmetry", {"class_path": "gnet.training.symmetry.Trivial", "init_args": {}})
        plan, _ = plan_of(study=study, data=data)
    assert [variant.name for variant in plan.variants] == ["none", "gcn", "mlp_per_node", "ridge", "last_value"]
    with pytest.raises(ConfigError, match="last_value repeats the last step before a forecast, and this is none"):
        plan_of("--baselines", "last_value")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--cluster", "; did you mean --clusters?"),
        ("--seed", "; did you mean --seeds?"),  # an abbreviation is no option
        ("--job=2", "; did you mean --jobs?"),
        ("-clusters", "; did you mean --clusters?"),  # argparse takes it for -c lusters
        ("--max_epochs", "; did you mean --trainer.max_epochs?"),
        ("-j", "."),
    ],
)
def test_misspelled_options_are_refused(word: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"there is no option {word.partition('=')[0]}{meant}") + "$"):
        refuse_unknown(["--seeds", "3", word, "4"])


def test_nothing_is_resolved_before_options_are_checked() -> None:
    def resolve(argv: list[str]) -> dict[str, Any]:
        raise AssertionError(argv)

    with pytest.raises(ConfigError, match=r"did you mean --clusters\?"):
        main(["--jobs", "0", "--cluster", "4"], resolve)


def test_options_of_study_and_of_fit_are_let_through() -> None:
    words = ["--first_seed", "1", "--draws=-1", "--data", "Digits", "--model.lr", "-1", "--data.study_seed=3", "4"]
    assert refuse_unknown(["-c", "a.yaml", *words]) is None
    with pytest.raises(ConfigError):
        refuse_unknown(["-c", "a.yaml", *words, "--sedes=3"])


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("--seed_everything=3", "--first-seed N and --seeds N"),
        ("--data.seed", "--first-seed N and --seeds N"),
        ("--data.draw", "--draws N"),
        ("--data.init_args.draw=5", "--draws N"),
    ],
)
def test_a_seed_for_all_trials_is_refused(word: str, instead: str) -> None:
    message = rf"seed and draw; instead of {re.escape(word.partition('=')[0])} give {instead}$"
    with pytest.raises(ConfigError, match=message):
        refuse_unknown(["--seeds", "3", word, "4"])
    with pytest.raises(ConfigError, match=message):
        plan_of(study={"variants": {"a": {word.partition("=")[0].removeprefix("--"): 5}}})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "two"], "--seeds: expected an integer, got 'two'"),
        (["--clusters", "1,4"], "--clusters: expected an integer, got '1,4'"),
        (["--first_seed", "0.5"], "--first-seed: expected an integer, got '0.5'"),
        (["--seeds"], "--seeds: expected one argument"),
    ],
)
def test_values_of_the_wrong_kind_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(words)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"seeds": "two"}, "expected study.seeds to be an integer, got 'two'"),
        ({"draws": True}, "expected study.draws to be an integer, got True"),
        ({"clusters": 4}, "expected study.clusters to be a list of integers, got 4"),
        (
            {"baselines": "ridge"},
            "expected study.baselines to be a list of names, names with their overrides, true or false, got 'ridge'",
        ),
        ({"variants": ["a"]}, "expected study.variants to be names with their overrides, got ['a']"),
        ({"checkpoints": "no"}, "expected study.checkpoints to be true or false, got 'no'"),
        ({"out": 3}, "expected study.out to be text, got 3"),
    ],
)
def test_values_of_the_wrong_kind_in_the_config_are_refused(study: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        plan_of(study=study)


def test_every_key_has_a_default_and_a_kind() -> None:
    assert set(DEFAULTS) == set(KINDS)
    assert plan_of(study=dict.fromkeys(KINDS))[0] == plan_of()[0]  # null is the default
    for key, value in DEFAULTS.items():
        assert value in (None, "") or KINDS[key][1](json.loads(json.dumps(value)))


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown key study\.cluster; did you mean clusters\? The keys are backend, baselines, "
    ):
        plan_of(study={"cluster": [1]})
