"""``select``: the ranking of the linear maps, a config that trains, learned clusters, nets, and bad options."""

import csv
import warnings

import numpy as np
import pytest
import torch
import yaml

from gnet.cli import main
from gnet.graphs import Partition, coarsen
from gnet.groups import ClusterGroup, SymmetricGroup
from gnet.selection import Candidate, partition_stability
from gnet.study.select import _text, data_line, default_rules, not_told_apart, parser, rank, seeds_compared
from gnet.training import Coarsened, GivenPartition, Symmetric, Trivial
from gnet.training.data import Digits
from gnet.training.planted import Planted

PLANTED = [
    "--data",
    "Planted",
    "--data.sizes=[4,4]",
    "--data.num_train=100",
    "--data.num_val=200",
    "--data.sigma_xi=0.5",
    "--trainer.max_epochs=2",
]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_planted_symmetry_is_ranked_first_and_its_config_trains(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["select", *PLANTED, "--out", "found"]) == 0
    printed = capsys.readouterr().out
    rows = rows_of(tmp_path / "found" / "candidates.csv")
    assert [float(row["validated"]) for row in rows] == sorted(float(row["validated"]) for row in rows)
    assert f"Best: {rows[0]['candidate']}, of linear maps" in printed and int(rows[0]["num_weights"]) == 6
    assert "A net may want another: --train 3 compares nets." in printed
    assert (
        printed.startswith("Data: Planted linear task, S4 x S4.")
        and "| validated | validated +- | behind | behind +- | share |" in printed
    )
    near = [row for row in rows if float(row["difference"]) <= 2 * float(row["difference_error"])]
    assert printed.count(" * |") == len(near) >= 1
    assert f"{len(near) - 1} more (*) cannot be told" in printed if len(near) > 1 else "all others are told from it" in printed
    config = yaml.safe_load((tmp_path / "found" / "best.yaml").read_text())
    assert "study" not in config and config["data"]["init_args"]["num_train"] == 100
    assert main(["fit", "--config", "found/best.yaml", "--trainer.enable_progress_bar=false", "--trainer.logger=false"]) == 0
    assert "    select --data Planted" in (tmp_path / "found" / "report.md").read_text()


@pytest.mark.parametrize(
    ("words", "unasked"),
    [([], True), (["--data.num_train=5"], True), (["--data", "Digits"], False), (["--config", "FILE"], False)],
)
def test_data_that_nobody_named_are_said(words, unasked, tmp_path):
    (tmp_path / "own.yaml").write_text("data: {class_path: Digits}\n")
    words = [str(tmp_path / "own.yaml") if each == "FILE" else each for each in words]
    assert ("no --config and no --data" in data_line(Digits(), words)) is unasked

    class Bare(Digits):
        def describe(self):
            raise NotImplementedError

    assert data_line(Bare(), ["--data", "Bare"]) == "Data: Bare."


def test_learned_clusters_are_a_rule_of_their_own():
    data = Planted(sizes=[4, 4], num_train=200, num_val=200, sigma_xi=0.5, kind="ring")
    data.setup()
    ranked, selection = rank({"S8": Symmetric(), "trivial": Trivial()}, data)
    assert ranked[0].group == data.group and isinstance(ranked[0].rule, GivenPartition) and ranked[0].name.startswith("learned")
    assert ranked[0].rule(data.graph) == ClusterGroup(Partition([0] * 4 + [1] * 4))
    assert selection.stability_ is not None and selection.stability_.is_stable
    without, _ = rank({"S8": Symmetric(), "again": Coarsened(1), "trivial": Trivial()}, data, merge=False)
    assert sorted(each.name for each in without) == ["S8", "trivial"]


def test_the_price_of_a_weight_in_merging_is_an_option():
    data = Planted(sizes=[4, 4], num_train=200, num_val=200, sigma_xi=0.5, kind="ring")
    data.setup()
    dear, free = (rank({"S8": Symmetric()}, data, merge=True, complexity=price)[1].merge_path_ for price in (None, 0.0))
    assert free.best == 0 < dear.best
    assert parser().parse_args(["--complexity", "2"]).complexity == 2.0


def test_an_image_gets_patches_and_its_grid(tmp_path):
    data = Digits(num_train=10)
    data.setup()
    rules = default_rules(Coarsened(16, method="patches"), data, 8)
    groups = [rule(data.graph, data.grid_shape) for rule in rules.values()]
    assert groups[0] == SymmetricGroup(64) and [group.order() for group in groups[-2:]] == [
        8,
        64,
    ]  # turns and flips, translations
    assert {4, 16} <= {rule.num_clusters for rule in rules.values() if isinstance(rule, Coarsened)}


def test_nets_have_the_last_word(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--train", "2", "--jobs", "0", "--no-merge", "--out", "found", "--clusters", "1", "2", "8"]
    assert main(["select", *PLANTED, *options]) == 0
    printed = capsys.readouterr().out
    rows = rows_of(tmp_path / "found" / "nets" / "results.csv")
    best = min(rows, key=lambda row: float(row["val_loss"]))["symmetry"]
    names = {row["symmetry"] for row in rows}
    assert len(names) == 3 and "automatic" in names and f"Best net: {best}." in printed
    assert best in (tmp_path / "found" / "best.yaml").read_text().splitlines()[0]


def test_the_ranking_is_written_before_nets_are_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("gnet.study.select._trained", killed)
    with pytest.raises(KeyboardInterrupt):
        main(["select", *PLANTED, "--train", "2", "--no-merge", "--out", "found", "--clusters", "1", "2", "8"])
    assert "Best: S4^2, of linear maps" in capsys.readouterr().out
    assert len(rows_of(tmp_path / "found" / "candidates.csv")) == 3
    assert "Best: S4^2" in (tmp_path / "found" / "report.md").read_text()
    assert (tmp_path / "found" / "best.yaml").exists()


@pytest.mark.parametrize(("difference", "error", "same"), [(0.0, 0.0, True), (1.9, 1.0, True), (2.1, 1.0, False)])
def test_two_standard_errors_tell_candidates_apart(difference, error, same):
    known = Candidate(SymmetricGroup(2), 2, 1.0, 1.0, 0.1, 0.0, difference=difference, difference_error=error)
    assert not_told_apart(known) is same


def test_a_net_of_one_group_alone_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--train", "1", "--jobs", "0", "--no-merge", "--out", "found", "--clusters", "1", "--model.num_bases", "2"]
    assert main(["select", *PLANTED, *options]) == 0
    assert "The sum over groups was left out: symmetry=Automatic brings its own groups and does not go with num_bases" in (
        capsys.readouterr().out
    )


def test_a_sum_over_groups_is_no_candidate_of_linear_maps(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "named.yaml").write_text(
        "study: {variants: {all: {model.symmetry: Symmetric}, sum: {model.symmetry: Automatic}}}"
    )
    assert main(["select", "--config", "named.yaml", *PLANTED, "--no-merge", "--out", "found"]) == 0
    assert [row["candidate"] for row in rows_of(tmp_path / "found" / "candidates.csv")] == ["all"]


def test_missing_targets_do_not_count():
    data = Planted(sizes=[4, 4], num_train=60, num_val=30)
    data.setup()
    plain, _ = rank({"S8": Symmetric(), "trivial": Trivial()}, data, merge=False)
    batch = data.val_arrays()
    batch.mask[0] = False
    batch.y[0] = 1e6
    data.val_arrays = lambda: batch
    spoiled, _ = rank({"S8": Symmetric(), "trivial": Trivial()}, data, merge=False)
    assert spoiled[0].known.validated == pytest.approx(plain[0].known.validated, rel=0.3)
    assert torch.isfinite(torch.tensor([each.known.validated for each in spoiled])).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--clusterz", "4"], "there is no option --clusterz"),
        (["--candidates", "many"], "--candidates"),
        (["--candidates", "0"], "expected --candidates >= 1, got 0"),
        (["--candidates", "-1"], "expected --candidates >= 1, got -1"),
        (["--train", "-1"], "expected --train >= 0, got -1"),
        (["--train", "1", "--seeds", "0"], "expected --seeds >= 1, got 0"),
        (["--jobs", "-1"], "expected --jobs >= 0, got -1"),
        (["--complexity", "nan"], "expected a finite --complexity >= 0, got nan"),
        (["--complexity", "-1"], "expected a finite --complexity >= 0, got -1"),
        (["--complexity", "inf"], "expected a finite --complexity >= 0, got inf"),
        (["--clusters", "4", "--model.symmetry", "Automorphism"], "--clusters ranges over numbers of clusters"),
    ],
)
def test_bad_options_are_refused(words, message, capsys, monkeypatch):
    monkeypatch.setattr("gnet.study.select.rank", None)  # refused before anything is ranked
    assert main(["select", *PLANTED, *words]) == 2
    assert message in capsys.readouterr().err


def test_a_constant_sensor_stops_merging_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = np.random.default_rng(0).standard_normal((2, 200, 6))
    x[:, 0] = 5.0
    np.savez(tmp_path / "signals.npz", x=x[..., None], y=(2 * x + 0.1 * y)[..., None])
    (tmp_path / "edges.csv").write_text("source,target\n" + "\n".join(f"{i},{(i + 1) % 6}" for i in range(6)) + "\n")
    words = [
        "--data",
        "FromFiles",
        "--data.signals=signals.npz",
        "--data.edges=edges.csv",
        "--data.task=regress",
        "--out",
        "found",
    ]
    with pytest.warns(UserWarning, match="no clusters are learned.*expected inputs of full rank"):
        assert main(["select", *words]) == 0
    printed = capsys.readouterr().out
    assert "Best: " in printed and "Learned clusters" not in printed
    assert len(rows_of(tmp_path / "found" / "candidates.csv")) > 2 and (tmp_path / "found" / "best.yaml").exists()


def ring_data(num_val=200):
    data = Planted(sizes=[4, 4], num_train=100, num_val=num_val, sigma_xi=0.5, kind="ring")
    data.setup()
    return data


def test_clusters_of_a_seed_are_compared_with_those_of_others():
    data = ring_data()
    ring = data.graph
    nodes = torch.arange(8)
    ring.edge_index = torch.stack([torch.cat([nodes, (nodes + 1) % 8]), torch.cat([(nodes + 1) % 8, nodes])])
    ring.edge_weight = None
    rules = {"S8": Symmetric(), "three": Coarsened(3, method="louvain"), "trivial": Trivial()}
    ranked, selection = rank(rules, data, merge=False)
    name, stability = seeds_compared(ranked, data)
    assert name == "three" and not stability.is_stable
    assert stability.partitions[2] == coarsen(ring, 3, "louvain", seed=2)
    told = _text(ranked, selection, (name, stability))
    assert f"Clusters of three, of 5 seeds: {stability}; they are the seed's more than the graph's" in told
    same = partition_stability([Partition([0, 0, 1])] * 2)
    assert "1.00: stable).\n" in _text(ranked, selection, (name, same)) and "the seed's" not in _text(
        ranked, selection, (name, same)
    )
    without, _ = rank({"S8": Symmetric(), "trivial": Trivial()}, data, merge=False)
    assert seeds_compared(without, data) is None


def test_a_single_validation_sample_tells_nothing_apart():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranked, selection = rank({"S8": Symmetric(), "trivial": Trivial()}, ring_data(num_val=1), merge=False)
    told = _text(ranked, selection)
    assert "on a single validation sample, which tells no candidate from another; validate on more." in told
    assert "nan" not in told and "cannot be told from it" not in told
    more = _text(*rank({"S8": Symmetric(), "trivial": Trivial()}, ring_data(num_val=2), merge=False))
    assert "single validation sample" not in more


def test_of_candidates_that_are_equal_the_simplest_is_first():
    data = ring_data()
    arrays = data.train_arrays(), data.val_arrays()
    for each in arrays:
        each.y.fill_(1.0)
    data.train_arrays, data.val_arrays = (lambda each=each: each for each in arrays)
    ranked, _ = rank({"trivial": Trivial(), "S8": Symmetric()}, data, merge=False)
    assert [each.name for each in ranked] == ["S8", "trivial"]
