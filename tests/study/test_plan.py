"""Variants: from words to checked configs."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch_geometric.data import Data

from gnet.errors import ConfigError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup, TrivialGroup
from gnet.study.plan import Plan, Variant, choose_baselines, group_label, largest_group, make_variants, run_seed, trial_config

BASE: dict[str, Any] = {
    "model": {
        "symmetry": {"class_path": "gnet.training.symmetry.Coarsened", "init_args": {"num_clusters": 9, "method": "patches"}}
    },
    "data": {"class_path": "gnet.training.data.Digits", "init_args": {}},
    "study": {"seeds": 3},
}
TRIVIAL = '{"class_path": "gnet.training.symmetry.Trivial"}'
PLAIN, FORECAST = SimpleNamespace(), SimpleNamespace(task="forecast")
GRAPH = (Data(num_nodes=16), (4, 4))


def resolve(argv: list[str]) -> dict[str, Any]:
    """What ``gnet.cli.resolve_config`` does, for the few keys used here."""
    config = copy.deepcopy(BASE)
    for word in argv:
        key, _, value = word.removeprefix("--").partition("=")
        head, _, name = key.partition(".")
        config[head][name] = json.loads(value) if value[:1] in "{0123456789" else value
    return config


def names(variants: tuple[Variant, ...]) -> list[str]:
    return [variant.name for variant in variants]


def test_clusters_are_shorthand_for_symmetries() -> None:
    variants = make_variants([], resolve, GRAPH, clusters=[1, 4, 16], baselines={"ridge": {}})
    assert names(variants) == ["S16", "S4^4", "trivial", "ridge"]
    rules = [variant.config["model"]["symmetry"]["class_path"].rpartition(".")[2] for variant in variants]
    assert rules[:3] == ["Symmetric", "Coarsened", "Trivial"]
    assert variants[1].config["model"]["symmetry"]["init_args"] == {
        "num_clusters": 4,
        "method": "patches",
        "seed": 0,
        "swaps": None,
        "neighbours": None,
    }
    assert all("study" not in variant.config for variant in variants)
    assert largest_group(variants) == "S16"


def test_clusters_that_may_change_places_keep_their_swaps_when_each_is_one_node() -> None:
    flipped = dict(BASE["model"]["symmetry"], init_args={"method": "patches", "swaps": "horizontal_flip"})
    variants = make_variants([f"--model.symmetry={json.dumps(flipped)}"], resolve, GRAPH, clusters=[1, 4, 16])
    assert names(variants) == ["S16", "S4^4 + swaps", "swaps"]
    assert [variant.group.order() for variant in variants[1:]] == [24**4 * 2, 2]
    assert variants[2].config["model"]["symmetry"]["init_args"]["swaps"] == "horizontal_flip"


def test_numbers_of_clusters_of_a_rule_without_clusters_are_refused() -> None:
    argv = ['--model.symmetry={"class_path": "gnet.training.symmetry.Automorphism"}']
    for number in (1, 4, 16):
        with pytest.raises(ConfigError, match="--clusters ranges over numbers of clusters, and Automorphism has none; give"):
            make_variants(argv, resolve, GRAPH, clusters=[number])


def test_variants_are_named_overrides() -> None:
    wanted = {"all": {"model.symmetry": "Symmetric"}, "wide": {"model.hidden_channels": 64}, "plain": None}
    variants = make_variants([], resolve, (Data(num_nodes=9), (3, 3)), named=wanted)
    assert names(variants) == ["all", "wide", "plain"]
    assert variants[1].config["model"]["hidden_channels"] == 64
    with pytest.raises(ConfigError, match=r"study\.variants: expected overrides like .* for bad, got 3"):
        make_variants([], resolve, GRAPH, named={"bad": 3})  # type: ignore[dict-item]


def test_the_group_of_a_variant_that_projects_is_the_target_s() -> None:
    onto = {"S16": {"model.project_onto": '{"class_path": "gnet.training.symmetry.Symmetric"}'}, "plain": None}
    variants = make_variants(["--model.symmetry=" + TRIVIAL], resolve, GRAPH, named=onto)
    assert [variant.group for variant in variants] == [SymmetricGroup(16), TrivialGroup(16)]
    assert largest_group(variants) == "S16"


def test_clusters_vary_the_target_where_the_config_projects() -> None:
    argv = ["--model.project_onto=" + TRIVIAL, "--model.symmetry=" + TRIVIAL]
    variants = make_variants(argv, resolve, GRAPH, clusters=[1, 16])
    assert names(variants) == ["S16", "trivial"]
    assert all(variant.config["model"]["symmetry"] == json.loads(TRIVIAL) for variant in variants)


def test_without_either_the_config_stands_alone() -> None:
    assert names(make_variants([], resolve, (Data(num_nodes=36), (6, 6)))) == ["S4^9"]


def test_a_sum_over_groups_is_not_called_after_its_first() -> None:
    assert names(make_variants(["--model.symmetry=Automatic"], resolve, GRAPH)) == ["automatic"]


def test_each_task_has_its_baselines() -> None:
    assert choose_baselines(None, PLAIN) == ("gcn", "mlp_per_node", "ridge", "mean")
    assert choose_baselines(None, FORECAST) == ("gcn", "mlp_per_node", "ridge", "last_value")
    assert choose_baselines(["mean", "last_value"], FORECAST) == ("mean", "last_value")
    assert choose_baselines([], FORECAST) == ()
    with pytest.raises(ConfigError, match="last_value repeats the last step before a forecast, and this is none; take mean"):
        choose_baselines(["last_value"], PLAIN)


def test_unknown_baselines_are_refused() -> None:
    expected = "Expected some of gcn, mlp_per_node, cnn, ridge, mean, last_value"
    with pytest.raises(ConfigError, match=rf"unknown baseline lasso\. {expected}"):
        choose_baselines(["ridge", "lasso"], PLAIN)
    with pytest.raises(ConfigError, match=rf"unknown baseline rigde; did you mean ridge\? {expected}"):
        choose_baselines(["rigde"], PLAIN)


def test_labels_are_short() -> None:
    assert group_label(ClusterGroup(Partition([0, 0, 0, 1, 1, 2]))) == "3 clusters"
    assert group_label(TrivialGroup(1)) == "trivial"


def test_a_trial_gets_its_seed_everywhere_and_the_draw() -> None:
    config = trial_config(BASE, draw=2, seed=5)
    number = run_seed(2, 5)
    assert config["seed_everything"] == config["model"]["seed"] == config["data"]["init_args"]["seed"] == number
    assert config["data"]["init_args"]["draw"] == 2
    assert BASE["data"]["init_args"] == {}


def test_seeds_are_nested_in_draws() -> None:
    assert [run_seed(0, seed) for seed in range(3)] == [0, 1, 2]
    assert len({run_seed(draw, seed) for draw in range(20) for seed in range(20)}) == 400


def plan(**changes: Any) -> Plan:
    group = TrivialGroup(3)
    settings = {"variants": (Variant("a", "symmetry", {}, {}, group),), "out": Path("out"), "seeds": (0,)} | changes
    return Plan(**settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draws": 0}, "expected --draws >= 1, got 0"),
        ({"jobs": -1}, "expected --jobs >= 0, got -1"),
        ({"threads": 0}, "expected --threads >= 1, got 0"),
        ({"seeds": ()}, "expected --seeds >= 1, got 0"),
        ({"seeds": (-1, 0)}, "expected --first-seed >= 0, got -1"),
        ({"reference": "b"}, "expected --reference to be one of a, got b"),
        ({"variants": (Variant("a", "symmetry", {}, {}, None),) * 2}, "different names, got a twice"),
        ({"variants": tuple(Variant(n, "baseline", {}, {}, None) for n in ("a b", "a_b"))}, "stay different as folders"),
    ],
)
def test_impossible_plans_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(**changes)
