"""``python train.py select``: which symmetry do these data want? Linear maps of every candidate, ranked within seconds."""

import argparse
import contextlib
import csv
import io
import math
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from gnet.errors import ConfigError
from gnet.study.command import execute, refuse_unknown
from gnet.study.journal import write_atomically
from gnet.study.plan import (
    Plan,
    Resolve,
    chosen_variants,
    cluster_overrides,
    group_label,
    make_variants,
    trial_config,
    without_study,
)
from gnet.study.provenance import Provenance

if TYPE_CHECKING:
    from gnet.groups import NodeGroup
    from gnet.selection import Candidate, Stability, SymmetrySelection
    from gnet.training.data import GraphDataModule
    from gnet.training.symmetry import Symmetry

METHODS = ("averaging", "validation", "estimate", "shrinkage")

NUM_SEEDS = 5
"""Seeds whose clusterings of the graph are compared: each costs a clustering."""

EPILOG = """\
Every other option is that of `fit`. The candidates are --clusters, or the config's study.variants that change nothing but the
symmetry, or else a chain of clusterings from one cluster to a cluster for every node, and the graph's own symmetries (on image
grids translations, too). Clusters learned from the data by merging are added where there are more samples than inputs. Merging
prices a weight at the logarithm of the number of samples and prefers coarse clusters; --complexity 2 follows the estimated risk.
Learned clusters are compared on parts of the samples, those of the best clustering of the graph with those of other seeds.

Every candidate is fitted as a linear map on the training split, and judged on the validation split, which has also chosen its
ridge penalty. That takes seconds and says with which symmetry linear maps predict best; a net may want another: --train trains
the best candidates as nets, as `study` does, and beside them the sum over many groups (symmetry Automatic).
"""

LEGEND = """\
Mean squared errors of linear maps, in model units, those of val_loss (of data from files 1 is the variance of a channel over all
nodes): predicted for new inputs from the fitted samples alone (least squares, taking inputs as normal; - where they are too few
to tell), and on the validation split, with its standard error. Behind: the validated error less the lowest, on the same samples,
with its standard error; * where it is less than two of these. Share: of the convex combination with the lowest validated error;
candidates that err alike share it, so that the best alone need not have the most."""


def parser() -> argparse.ArgumentParser:
    """The options of ``select`` that ``fit`` does not have."""
    words = argparse.ArgumentParser(
        prog="select",
        description="Rank symmetries by their predicted and validated risk, and write a config of the best.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        exit_on_error=False,
    )
    words.add_argument("--config", "-c", action="append", default=[], metavar="FILE", help="YAML config, as for fit")
    words.add_argument("--clusters", nargs="+", type=int, default=[], metavar="K", help="numbers of clusters to compare")
    words.add_argument("--candidates", type=int, default=8, metavar="N", help="about how many clusterings to try (8)")
    words.add_argument("--no-merge", action="store_true", help="learn no clusters from the data")
    words.add_argument(
        "--complexity",
        type=float,
        metavar="C",
        help="price of a weight when clusters are learned: 2 is the risk (log of samples)",
    )
    words.add_argument(
        "--train", type=int, default=0, metavar="N", help="then train the N best and the sum over groups as nets, and choose"
    )
    words.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds of each net (1)")
    words.add_argument("--jobs", type=int, default=2, metavar="N", help="nets side by side (2)")
    words.add_argument("--out", type=Path, metavar="DIR", help="where everything is written (selections/<config>)")
    return words


@dataclass(frozen=True)
class Ranked:
    """A candidate, its rule as a config writes it, and what is known of it."""

    name: str
    rule: "Symmetry"
    group: "NodeGroup"
    known: "Candidate"


def main(argv: Sequence[str], resolve_config: Resolve, program: str = "python train.py") -> int:
    """Rank, print, and write ``candidates.csv``, ``report.md`` and ``best.yaml``; returns the exit code.

    ``program`` is what to type to run gnet, for the hint at the end.

    Raises:
        ConfigError: options that do not exist or contradict each other.
    """
    try:
        given, rest = parser().parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{(error.argument_name or '').partition('/')[0]}: {error.message}") from error
    refuse_unknown([word for word in rest if word.startswith("-")])
    check_options(given)
    from gnet.training.trial import instantiate

    start = Provenance.now(shlex.join(["select", *argv]))
    words = [*(word for name in given.config for word in ("--config", name)), *rest]
    base = resolve_config(words)
    datamodule = instantiate(trial_config(base, 0, int(base.get("seed_everything") or 0))["data"])
    datamodule.setup()
    rules = _rules(base, datamodule, given)
    ranked, selection = rank(rules, datamodule, merge=None if not given.no_merge else False, complexity=given.complexity)
    name = Path(given.config[-1]).stem if given.config else type(datamodule).__name__.lower()
    out = given.out or Path("selections") / name
    out.mkdir(parents=True, exist_ok=True)
    text, status = f"{data_line(datamodule, words)}\n\n{_text(ranked, selection, seeds_compared(ranked, datamodule))}", 0
    write_atomically(out / "candidates.csv", _csv(ranked))
    _write(out, (ranked[0].name, ranked[0].rule), text, base, start)
    print(text, flush=True)
    if given.train:  # which may take hours: what is known by now is written, and stays if it is stopped
        rule, verdict, status = _trained(ranked[: given.train], words, resolve_config, datamodule, given, out)
        _write(out, rule, f"{text}\n\n{verdict}", base, start)
        print(f"\n{verdict}")
    print(f"\nWritten to {out}: candidates.csv, report.md and best.yaml. To train it:")
    print(f"  {program} fit --config {out / 'best.yaml'}")
    return status


def data_line(datamodule: "GraphDataModule", words: Sequence[str]) -> str:
    """On which data, and that nobody named them where that is so.

    Example:
        >>> from gnet.training.data import Digits
        >>> data_line(Digits(), ["--data.num_train=5"])
        'Data: Digits (no --config and no --data, so the digits of scikit-learn).'
    """
    from gnet.training.arguments import with_default_data

    name = type(datamodule).__name__
    with contextlib.suppress(NotImplementedError):  # data of others may have no card
        name = str(datamodule.describe().get("name", name))
    unasked = len(with_default_data(words)) > len(words)
    return f"Data: {name}{' (no --config and no --data, so the digits of scikit-learn)' if unasked else ''}."


def check_options(given: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing, before anything is read or fitted.

    Raises:
        ConfigError: one of them is too low, or no number.

    Example:
        >>> check_options(parser().parse_args(["--candidates", "4"]))
    """
    for name, least in {"candidates": 1, "train": 0, "seeds": 1, "jobs": 0}.items():
        if getattr(given, name) < least:
            raise ConfigError(f"expected --{name} >= {least}, got {getattr(given, name)}")
    if given.complexity is not None and not 0 <= given.complexity < math.inf:
        raise ConfigError(f"expected a finite --complexity >= 0, got {given.complexity:g}; 2 follows the estimated risk")


def _write(out: Path, rule: "tuple[str, Symmetry]", text: str, base: dict[str, Any], start: Provenance) -> None:
    """The report, and the config of a symmetry."""
    config = without_study(base)
    config["model"] = {**config["model"], "symmetry": rule[1].as_config()}
    where = f"{start.processor}, {start.cores} cores; git revision {start.revision}; {start.date}"
    header = f"# The best symmetry found: {rule[0]}\n#   python train.py {start.command}\n#   {where}\n"
    write_atomically(out / "best.yaml", header + yaml.safe_dump(config, sort_keys=False))
    write_atomically(
        out / "report.md", f"# Selection\n\n{text}\n\n## Command, code and machine\n\n    {start.command}\n\n{where}\n"
    )


def rank(
    rules: "dict[str, Symmetry]", datamodule: "GraphDataModule", merge: bool | None = None, complexity: float | None = None
) -> "tuple[list[Ranked], SymmetrySelection]":
    """Fit every candidate's linear maps to the training split, judge them on the validation split, best first.

    Learned clusters become rules of their own (``rule_of``). Of candidates that are the same group the first is kept; of those
    whose errors differ by rounding alone the one of fewest weights is the first.

    Raises:
        ConfigError: no samples to validate on.
    """
    from sklearn.model_selection import PredefinedSplit

    from gnet.selection import SymmetrySelection, UnstablePartitionWarning
    from gnet.selection.candidates import distinct_groups
    from gnet.training.rules import rule_of

    made = {name: rule(datamodule.graph, datamodule.grid_shape) for name, rule in rules.items()}
    groups = {list(made)[place]: list(made.values())[place] for place in distinct_groups(list(made.values()))}
    train, val = datamodule.train_arrays(), datamodule.val_arrays()
    if not len(val.x):
        raise ConfigError("expected a validation split to judge the candidates on, got an empty one")
    x, y, mask = (torch.cat([getattr(each, part) for each in (train, val)]).double() for part in ("x", "y", "mask"))
    fold = np.concatenate([np.full(len(train.x), -1), np.zeros(len(val.x))])
    output = "invariant" if datamodule.target == "graph" else "equivariant"
    settings: dict[str, Any] = {"merge": merge, "complexity": complexity, "output": output}
    selection = SymmetrySelection(list(groups.values()), cv=PredefinedSplit(fold), **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnstablePartitionWarning)
        selection.fit(x.numpy(), y.numpy(), mask=mask.bool().numpy())
    found = [
        Ranked(name, rules[name], group, known) for (name, group), known in zip(groups.items(), selection.path_, strict=False)
    ]
    for known in selection.path_[len(groups) :]:
        rule = rule_of(known.group, datamodule.graph, datamodule.grid_shape)
        found.append(Ranked(f"learned, {group_label(known.group)}", rule, known.group, known))
    best = selection.path_[selection.best_index_]
    return sorted(found, key=lambda each: (each.known is not best, each.known.validated)), selection


def seeds_compared(ranked: Sequence[Ranked], datamodule: "GraphDataModule") -> "tuple[str, Stability] | None":
    """The best candidate whose clusters a seed has a part in, and how much those of other seeds agree; None if there is none."""
    from gnet.groups import ClusterGroup
    from gnet.selection import partition_stability
    from gnet.training.symmetry import Coarsened

    size = int(datamodule.graph.num_nodes or 0)
    for each in ranked:
        if isinstance(each.rule, Coarsened) and each.rule.method != "patches" and 1 < each.rule.num_clusters < size:
            rules = [replace(each.rule, seed=each.rule.seed + number, swaps=None) for number in range(NUM_SEEDS)]
            groups = [rule(datamodule.graph, datamodule.grid_shape) for rule in rules]
            return each.name, partition_stability([group.partition for group in groups if isinstance(group, ClusterGroup)])
    return None


def _rules(base: dict[str, Any], datamodule: "GraphDataModule", given: argparse.Namespace) -> "dict[str, Symmetry]":
    """The candidates by name."""
    from gnet.training.automatic import Automatic
    from gnet.training.symmetry import as_symmetry

    graph, size = datamodule.graph, int(datamodule.graph.num_nodes or 0)
    named = chosen_variants((base.get("study") or {}).get("variants") or {}, [])
    if given.clusters:
        rules = [as_symmetry(cluster_overrides(base, number, size)["model.symmetry"]) for number in dict.fromkeys(given.clusters)]
        return {group_label(rule(graph, datamodule.grid_shape)): rule for rule in rules}
    rules_by_name = {name: as_symmetry(each["model.symmetry"]) for name, each in named.items() if set(each) == {"model.symmetry"}}
    only_symmetry = {name: rule for name, rule in rules_by_name.items() if not isinstance(rule, Automatic)}
    if only_symmetry:
        return only_symmetry
    return default_rules(as_symmetry(base["model"]["symmetry"]), datamodule, given.candidates)


def default_rules(rule: "Symmetry", datamodule: "GraphDataModule", num_candidates: int) -> "dict[str, Symmetry]":
    """One cluster, more and more by about the same factor, a cluster for each node; then the graph's own symmetries, if any.

    An image grid has translations beside its automorphisms, which are flips and turns.
    """
    from gnet.selection.merging import geometric_counts
    from gnet.training.symmetry import Automorphism, Coarsened, Grid, Symmetric, Trivial

    graph, size, shape = datamodule.graph, int(datamodule.graph.num_nodes or 0), datamodule.grid_shape
    clustered = rule if isinstance(rule, Coarsened) else Coarsened(method="agglomerative")
    counts = geometric_counts(1, size, num_candidates)
    if clustered.method == "patches" and shape is not None:
        counts = [side**2 for side in geometric_counts(1, min(shape), num_candidates) if side**2 < size] + [size]
    rules: list[Symmetry] = [Symmetric(), *(clustered.with_clusters(count) for count in counts if 1 < count < size), Trivial()]
    if Automorphism()(graph).order() > 1:
        rules.append(Automorphism())
    if shape is not None:
        rules.append(Grid("translations"))
    found: dict[str, Symmetry] = {}
    for each in rules:
        name = group_label(each(graph, shape))
        found[name if name not in found else f"{name}, {type(each).__name__.lower()}"] = each
    return found


def _trained(
    best: Sequence[Ranked],
    words: list[str],
    resolve_config: Resolve,
    datamodule: "GraphDataModule",
    given: argparse.Namespace,
    out: Path,
) -> "tuple[tuple[str, Symmetry], str, int]":
    """Train the best and the sum over groups as nets, and choose by mean validation loss."""
    from gnet.training.automatic import Automatic

    rules = {each.name: each.rule for each in best}
    model, note = resolve_config(words)["model"], ""
    try:
        Automatic().settings(model)
        if datamodule.target == "graph" and model["num_layers"] == 1:
            raise ConfigError("one layer to one value per graph is no sum over groups")
        rules["automatic"] = Automatic()
    except ConfigError as error:
        note = f"\nThe sum over groups was left out: {error}."
    named = {name: {"model.symmetry": rule.as_config()} for name, rule in rules.items()}
    variants = make_variants(words, resolve_config, (datamodule.graph, datamodule.grid_shape), named=named)
    plan = Plan(variants=variants, out=out / "nets", seeds=tuple(range(given.seeds)), jobs=given.jobs, checkpoints=False)
    status = execute(plan, datamodule)
    with (out / "nets" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    losses = {name: [float(row["val_loss"]) for row in rows if row["symmetry"] == name] for name in rules}
    means = {name: float(np.mean(each)) for name, each in losses.items() if each}
    if not means:
        return (best[0].name, best[0].rule), "No net could be trained; the best linear candidate stands.", status
    chosen = min(means, key=lambda name: means[name])
    lines = [f"- {name}: {mean:.4g}" for name, mean in means.items()]
    text = "\n".join(["Validation loss of nets, mean over seeds:", *lines, f"Best net: {chosen}."]) + note
    return (chosen, rules[chosen]), text, status


def _text(ranked: Sequence[Ranked], selection: "SymmetrySelection", of_seeds: "tuple[str, Stability] | None" = None) -> str:
    """The table, and what to make of it."""
    header = ["candidate", "weights", "predicted", "validated", "validated +-", "behind", "behind +-", "share"]
    rows = [
        [
            f"{each.name} *" if not_told_apart(each.known) else each.name,
            str(each.known.num_weights),
            "-" if np.isnan(each.known.predicted) else f"{each.known.predicted:.4g}",
            f"{each.known.validated:.4g}",
            "-" if np.isnan(each.known.standard_error) else f"{each.known.standard_error:.2g}",
            f"{each.known.difference:.2g}",
            "-" if np.isnan(each.known.difference_error) else f"{each.known.difference_error:.1g}",
            f"{each.known.weight:.2f}",
        ]
        for each in ranked
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---", *["---:"] * 7], *rows])
    text = f"{table}\n\n{LEGEND}"
    stability = selection.stability_
    if stability is not None:
        text += f"\nLearned clusters, on other samples: {stability}."
    elif selection.merge_path_ is not None:
        text += "\nLearned clusters: too few samples to tell whether others would give the same."
    if of_seeds is not None:
        text += f"\nClusters of {of_seeds[0]}, of {NUM_SEEDS} seeds: {of_seeds[1]}"
        text += "." if of_seeds[1].is_stable else "; they are the seed's more than the graph's, so read nothing into them."
    others = sum(not_told_apart(each.known) for each in ranked) - 1
    text += f"\nBest: {ranked[0].name}, of linear maps"
    if np.isnan(ranked[0].known.standard_error):
        text += " on a single validation sample, which tells no candidate from another; validate on more."
    else:
        text += f"; {others} more (*) cannot be told from it by these samples." if others else "; all others are told from it."
    return f"{text} A net may want another: --train 3 compares nets."


def not_told_apart(known: "Candidate") -> bool:
    """Whether a candidate is less than two standard errors behind the best: the best itself always is."""
    return not known.difference > 2 * known.difference_error


def _csv(ranked: Sequence[Ranked]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = ("num_weights", "predicted", "validated", "standard_error", "penalty", "weight", "difference", "difference_error")
    writer.writerow(["candidate", "rule", *names])
    for each in ranked:
        writer.writerow([each.name, repr(each.rule), *(f"{getattr(each.known, name):.9g}" for name in names)])
    return file.getvalue()
