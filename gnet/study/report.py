"""What a study shows at its end: summary.csv, the pictures, report.md and the printed table; made from the folder alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gnet.measures.decomposition import Decomposition, decompose, residual_gram
from gnet.study.baseline_nets import NETS, layout
from gnet.study.journal import Row, csv_text, json_text, write_atomically
from gnet.study.metrics import Metrics, metric_cells, metric_columns, metric_table, summarise_metrics
from gnet.study.plots import Outputs, plot_bias_variance, plot_outputs, save
from gnet.study.provenance import Provenance
from gnet.study.run import StudyResult
from gnet.study.tables import FEW, SUMMARY_COLUMNS, Summary, markdown_table, shared_trials, summarise, text_table, verdict
from gnet.study.trials import trial_path
from gnet.training.classes import loss_for

PICTURES = {"bias_variance.png": "bias^2, variance and test loss", "outputs.png": "inputs, outputs and targets"}
"""Shown in the report; each is written as .pdf too, for papers and slides."""


@dataclass(frozen=True)
class Targets:
    """What a report says of the common test set: the classes of its targets, if any, channels, and the first trial's scaling.

    Model units are (y - mean) / std, with one mean and std for each channel of the targets.
    """

    classes: list[str] | None
    in_channels: int
    out_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, out: Path) -> "Targets":
        """From a study's folder."""
        with np.load(out / "test_set.npz") as stored:
            classes = [str(name) for name in stored["classes"]] if "classes" in stored.files else None
            mean, std = (tuple(stored[name].tolist()) for name in ("y_mean", "y_std"))
            return cls(classes, stored["x"].shape[-1], stored["y"].shape[-1], mean, std)


def decompositions(out: Path, rows: Sequence[Row]) -> dict[str, Decomposition]:
    """Bias^2 and variance of every variant, from its predictions on the common test set.

    Per entry, which is a number, or a target with all its classes: of those it is a sum over the classes.
    """
    with np.load(out / "test_set.npz") as stored:
        target, mask = stored["y"], stored["mask"]
    classes = Targets.read(out).classes
    per_entry = 1 if classes is None else len(classes)
    parts = {}
    for name in dict.fromkeys(row.symmetry for row in rows):
        mine = [row for row in rows if row.symmetry == name]
        predictions = [np.load(trial_path(out, row.key), mmap_mode="r") for row in mine]
        parts[name] = decompose(per_entry * residual_gram(predictions, target, mask), [row.draw for row in mine])
    return parts


def write_report(out: Path, result: StudyResult, data_card: dict[str, Any], title: str) -> str:
    """Write everything a reader looks at and return what to print: the table, the sentence, the pictures' names."""
    rows = result.rows
    if not rows:
        return "No trial ended well; failures.csv says why."
    summaries = summarise(rows, decompositions(out, rows))
    metrics = summarise_metrics(rows)
    lines = ([*summary.cells(), *metric_cells(metrics[summary.symmetry])] for summary in summaries)
    write_atomically(out / "summary.csv", csv_text([*SUMMARY_COLUMNS, *metric_columns(metrics)], lines))
    config = result.manifest["variants"][result.manifest["reference"]]["config"]
    targets = Targets.read(out)
    if any(summary.kind == "symmetry" for summary in summaries):
        _write(
            plot_bias_variance(summaries, title, loss_for(config["model"].get("loss"), targets.classes)),
            out / "bias_variance.png",
        )
    _plot_outputs(out, rows, title, targets.classes or ())
    pictures = [name for name in PICTURES if (out / name).exists()]
    sentence = verdict(rows, log_orders(result.manifest))
    text = report_text(result, summaries, sentence, data_card, title, pictures, targets, metrics)
    write_atomically(out / "report.md", text)
    vectors = [Path(name).with_suffix(".pdf").name for name in pictures]
    files = ["results.csv", "summary.csv", "report.md", *pictures, *vectors]
    below = any(summary.bias2 < 0 for summary in summaries)
    note = ["A bias^2 below zero is an unbiased estimate from few draws; more of them bring it nearer to the truth."] * below
    return "\n".join([text_table(summaries), *note, "", sentence, "", f"Written to {out}: {', '.join(files)}."])


def log_orders(manifest: dict[str, Any]) -> dict[str, float]:
    """Logarithm of the group order of every symmetry of a study."""
    return {name: float(entry["log_order"]) for name, entry in manifest["variants"].items() if entry["kind"] == "symmetry"}


def _write(figure: Figure, picture: Path) -> None:
    save(figure, picture)
    save(figure, picture.with_suffix(".pdf"))


def _plot_outputs(out: Path, rows: Sequence[Row], title: str, classes: Sequence[str]) -> None:
    first: dict[str, Row] = {}
    for row in shared_trials(rows):
        first.setdefault(row.symmetry, row)
    if not first:
        return
    trials = {name: f"draw {row.draw}, seed {row.seed}" for name, row in first.items()}
    together = len(set(trials.values())) == 1
    with np.load(out / "test_set.npz") as stored:
        shape = tuple(int(side) for side in stored["grid_shape"])
        outputs = Outputs(
            inputs=stored["x"],
            target=stored["y"],
            mask=stored["mask"],
            predictions={
                name if together else f"{name}\n{trials[name]}": np.load(trial_path(out, row.key)) for name, row in first.items()
            },
            grid_shape=(shape[0], shape[1]) if shape else None,
            node_ids=[str(node) for node in stored["node_ids"]],
            bones=stored["bones"] if "bones" in stored else np.empty((2, 0), dtype=np.int64),
            units=(stored["y_mean"], stored["y_std"]),
            classes=classes,
        )
    shown = next(iter(trials.values())) if together else "of different trials"
    _write(plot_outputs(outputs, f"{title}: test samples; one net of each symmetry, {shown}"), out / "outputs.png")


def report_text(
    result: StudyResult,
    summaries: Sequence[Summary],
    sentence: str,
    data_card: dict[str, Any],
    title: str,
    pictures: Sequence[str],
    targets: Targets,
    metrics: Metrics,
) -> str:
    """``report.md``: the question, the answer, and every item that someone who repeats the study needs."""
    manifest = result.manifest
    num_draws = max(summary.num_draws for summary in summaries)
    sections = {
        f"Study: {title}": "How much symmetry is best for these data? Each row of the table is a net that shares its weights "
        "according to one group; the larger the group, the fewer weights, and as a rule the more bias and the less variance.",
        "Answer": sentence,
        "Table": f"{markdown_table(summaries)}\n\n{_reading(num_draws, manifest, targets)}",
        "Errors of the task": metric_table(metrics) and f"{metric_table(metrics)}\n\n{OF_METRICS}",
        "Pictures": "\n\n".join([*(f"![{PICTURES[name]}]({name})" for name in pictures), *_vectors(pictures)]),
        "Failed trials": _failures(result),
        "Protocol": _protocol(manifest, summaries, targets),
        "Data and splits (of the first draw and seed)": "\n".join(f"- {key}: {value}" for key, value in data_card.items()),
        "Commands, code, machine and versions": _starts(manifest),
        "Configuration": _configuration(manifest),
    }
    parts = [f"{'#' if number == 0 else '##'} {head}\n\n{text}\n" for number, (head, text) in enumerate(sections.items()) if text]
    return "\n".join(parts)


def _vectors(pictures: Sequence[str]) -> list[str]:
    """The sentence on the vector versions, where there are pictures."""
    names = [Path(name).with_suffix(".pdf").name for name in pictures]
    return [f"For print: {', '.join(f'[{name}]({name})' for name in names)}."] if names else []


OF_METRICS = (
    "Means over trials +- the standard deviation, in the units of the data; in brackets the difference to the best symmetry, "
    "paired by (draw, seed), +- its standard error. `summary.csv` has the same with all digits."
)
KINDS = {"mse": "mean squared errors", "mae": "mean absolute errors", "cross_entropy": "cross-entropies in nats, per target"}
OF_NUMBERS = (
    "- bias^2: `|mean - y|^2 - var / D` per entry, `mean` the prediction averaged over trials, `var` the variance "
    "(over D - 1) of the D draws' means. y is the measured target, so **bias^2 contains the irreducible part** "
    "(the noise of y), which is the same for every row. The estimate is unbiased, so it may fall below zero where draws are few. "
    "Units are the model units of the first trial.",
    "- variance: of one trained net's prediction, per entry; bias^2 + variance is the expected squared error on the "
    "common test set.",
)
OF_CLASSES = (
    "- bias^2: of the predicted probabilities, `|mean - y|^2 - var / D` per target, summed over its classes; y is 1 for the "
    "known class and 0 for all others, `mean` the probabilities averaged over trials, `var` the variance (over D - 1) of the D "
    "draws' means. **bias^2 contains the irreducible part** (what the input leaves open about the class), the same for every "
    "row.",
    "- variance: of one trained net's probabilities, summed likewise; bias^2 + variance is the **expected Brier score** on the "
    "common test set, between 0 and 2. It is not the test loss, which is the cross-entropy of the same probabilities.",
)
"""How bias^2 and variance are to be read, for either kind of targets."""


def losses_text(model: Mapping[str, Any], targets: Targets) -> str:
    """What the losses of a model's config are, and in which units.

    Example:
        >>> losses_text({"loss": "mae", "loss_units": "data"}, Targets(None, 6, 3, (54.4,), (19.5,)))
        'Losses are mean absolute errors in the units of the data.'
        >>> losses_text({}, Targets(None, 1, 1, (54.4,), (19.5,)))
        'Losses are mean squared errors in model units, (y - 54.4) / 19.5 in the first trial.'
    """
    loss = loss_for(model.get("loss"), targets.classes)
    if loss == "cross_entropy":
        return f"Losses are {KINDS[loss]}."
    if model.get("loss_units") == "data" or (set(targets.mean), set(targets.std)) == ({0.0}, {1.0}):
        return f"Losses are {KINDS[loss]} in the units of the data{', squared' if loss == 'mse' else ''}."
    scales = dict.fromkeys(f"(y - {mean:.4g}) / {std:.4g}" for mean, std in zip(targets.mean, targets.std, strict=True))
    return f"Losses are {KINDS[loss]} in model units, {', '.join(scales)} in the first trial."


def _losses(manifest: Mapping[str, Any], targets: Targets) -> str:
    """One sentence, or one for each kind of loss among the variants."""
    names: dict[str, list[str]] = {}
    for name, entry in manifest["variants"].items():
        names.setdefault(losses_text(entry["config"]["model"], targets), []).append(name)
    return " ".join(names) if len(names) == 1 else " ".join(f"{', '.join(each)}: {text}" for text, each in names.items())


def _reading(num_draws: int, manifest: Mapping[str, Any], targets: Targets) -> str:
    units = "seeds" if num_draws == 1 else "draws"
    losses = _losses(manifest, targets)
    bias2, variance = OF_NUMBERS if targets.classes is None else OF_CLASSES
    if num_draws == 1:
        scope = (
            "There is one draw of the training set, so seeds take the place of draws: **bias^2 and variance are both conditional "
            "on this one training set**. `--draws 10` redraws it."
        )
    else:
        scope = (
            f"The training set was drawn {num_draws} times; `summary.csv` splits the variance into the parts between draws and "
            "between seeds. Draws come from one pool and may overlap."
        )
    return "\n".join(
        [
            "- val loss, test loss: means over trials, +- the standard deviation (n - 1). A net has the weights of its epoch of "
            "lowest validation loss (unless `keep` is `last`). The best symmetry is that of the lowest mean validation loss; the "
            f"test loss had no part in the choice. {losses}",
            bias2,
            f"{variance} Errors in `summary.csv` are jackknife errors; the test set is taken as given.",
            f"- {scope}",
            "- less best symmetry: test loss less that of the best symmetry, paired by (draw, seed), so negative where it is "
            f"lower; in brackets the 95 % bootstrap interval. What is independent are {units}: with fewer than {FEW} of them "
            "there is no interval, and nothing can be said about significance.",
        ]
    )


def _protocol(manifest: dict[str, Any], summaries: Sequence[Summary], targets: Targets) -> str:
    baselines = [name for name, entry in manifest["variants"].items() if entry["kind"] == "baseline"]
    trials = ", ".join(f"{summary.symmetry} {summary.n}" for summary in summaries)
    lines = [
        "For each draw of the training set and each seed: draw the training set (draw); cut off the validation part, mask, "
        "initialise and shuffle (seed); train; go back to the epoch with the lowest validation loss; measure on the test set. "
        "Predictions are made on one test set whose masks come from the study's seed.",
        f"Trials: {trials}. A seed counts within its draw; the column `run_seed` is what to give to `--seed_everything`, "
        "and `draw` what to give to `--data.draw`, to train that row again.",
        f"`equivariance_error` is the relative error with respect to the group of {manifest['reference']} "
        f"({manifest['variants'][manifest['reference']]['group']}), on the same inputs and group elements for all rows.",
        f"Each trial computed with {manifest['threads']} thread(s); the table does not depend on the number of jobs.",
    ]
    if baselines:
        lines.append(
            f"Baselines ({', '.join(baselines)}) had the same splits and seeds. `num_clusters` is 1 where all nodes share "
            "weights (gcn) and N where none do (all others)."
        )
        weights = {summary.symmetry: summary.num_weights for summary in summaries}
        configs = {name: manifest["variants"][name]["config"] for name in baselines if name in NETS and name in weights}
        found = {name: layout(name, config, targets.in_channels, targets.out_channels) for name, config in configs.items()}
        lines += ["\n".join(f"- {name}: {text}, {weights[name]} weights" for name, text in found.items())] if found else []
    return "\n\n".join(lines)


def _failures(result: StudyResult) -> str:
    return "\n".join(
        f"- {name}, draw {draw}, seed {seed}: {fail.message}" for (name, draw, seed), fail in result.failures.items()
    )


def _starts(manifest: dict[str, Any]) -> str:
    starts = []
    for start in [Provenance.from_dict(values) for values in manifest["starts"]]:
        versions = ", ".join(f"{name} {number}" for name, number in start.versions.items())
        starts.append(
            f"- {start.date}: `{start.command}`\n"
            f"  - code: git revision {start.revision}, hash of the sources {start.code}\n"
            f"  - machine: {start.processor}, {start.cores} cores, {start.system}\n  - versions: {versions}"
        )
    return "\n".join(starts)


def _configuration(manifest: dict[str, Any]) -> str:
    """The first variant's config in full, and what the others change."""
    names = [name for name, entry in manifest["variants"].items() if entry["kind"] == "symmetry"]
    changes = "\n".join(
        f"- {name}: {manifest['variants'][name]['group']}; overrides `{json.dumps(manifest['variants'][name]['overrides'])}`"
        for name in names
    )
    return f"{changes}\n\nIn full, for {names[0]}:\n\n```json\n{json_text(manifest['variants'][names[0]]['config'])}```"
