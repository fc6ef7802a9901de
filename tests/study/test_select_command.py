"""``select``: the ranking of the linear maps, a config that trains, learned clusters, nets, and bad options."""

import csv

import pytest
import torch
import yaml

from gnet.cli import main
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, SymmetricGroup
from gnet.selection import Candidate
from gnet.study.select import default_rules, not_told_apart, parser, rank
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
    near = [row for row in rows if float(row["difference"]) <= 2 * float(row["difference_error"])]
    assert printed.count(" * |") == len(near) >= 1
    assert f"{len(near) - 1} more (*) cannot be told" in printed if len(near) > 1 else "all others are told from it" in printed
    config = yaml.safe_load((tmp_path / "found" / "best.yaml").read_text())
    assert "study" not in config and config["data"]["init_args"]["num_train"] == 100
    assert main(["fit", "--config", "found/best.yaml", "--trainer.enable_progress_bar=false", "--trainer.logger=false"]) == 0
    assert "    select --data Planted" in (tmp_path / "found" / "report.md").read_text()


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
        (["--clusters", "4", "--model.symmetry", "Automorphism"], "--clusters ranges over numbers of clusters"),
    ],
)
def test_bad_options_are_refused(words, message, capsys):
    assert main(["select", *PLANTED, *words]) == 2
    assert message in capsys.readouterr().err
