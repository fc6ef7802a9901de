"""How much faster is a study whose trials are trained at once (``--vectorize``), column by column of the inpainting table?

    python benchmarks/study_speed.py --config configs/inpainting/mnist.yaml --clusters 1 4 16 49 196 784 --seeds 3
    python benchmarks/study_speed.py --config gnet:digits --clusters 1 16 --epochs 5 --rounds 1

Both ways are timed in turns, each in a worker of its own as in a study, in processor time of an epoch, median over epochs and
rounds; a table is then the epochs of its config and what comes before them (making data and nets, tracing).
"""

import argparse
import copy
import itertools
import os
import platform
import statistics
import time
from typing import Any

import torch
from lightning.pytorch import Callback

from gnet.study.pool import Failure, keep_memory, run_tasks
from gnet.study.stacks import MOST_WEIGHTS
from gnet.training.arguments import resolve
from gnet.training.stacked import StackedFit, make_member
from gnet.training.trial import prepare_trial, quiet

Timing = tuple[float, float, int]
"""Seconds before the first epoch ended, median seconds of the others, and trials that these are for."""


class Clock(Callback):
    """Processor time at the end of every epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_end(self, *_: Any) -> None:
        """One more."""
        self.times.append(time.process_time())


def summary(begun: float, times: list[float], trials: int) -> Timing:
    """What a run took: the start, and an epoch."""
    return times[0] - begun, statistics.median(b - a for a, b in itertools.pairwise(times)), trials


def alone(configs: list[dict[str, Any]]) -> Timing:
    """The first trial by itself."""
    begun, clock = time.process_time(), Clock()
    with quiet():
        module, datamodule, trainer = prepare_trial(configs[0])
        trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        module.log_train_loss = False
        trainer.fit(module, datamodule=datamodule)
    return summary(begun, clock.times, 1)


def at_once(configs: list[dict[str, Any]]) -> Timing:
    """All trials of a stack, as many as go into one."""
    keep_memory()
    begun, times = time.process_time(), []
    with quiet():
        members = [make_member(config) for config in configs[:1]]
        weights = sum(parameter.numel() for parameter in members[0].module.parameters())
        members += [make_member(config) for config in configs[1 : max(1, MOST_WEIGHTS // weights)]]
        StackedFit(members).run(lambda _: times.append(time.process_time()))
    return summary(begun, times, len(members))


def timed(function: Any, configs: list[dict[str, Any]]) -> Timing:
    """In a fresh worker of one thread."""
    [(_, result)] = run_tasks(function, [configs], jobs=1)
    if isinstance(result, Failure):
        raise SystemExit(result.details or result.message)
    return result


def column(config: dict[str, Any], options: argparse.Namespace) -> tuple[Timing, Timing]:
    """Both ways, in turns."""
    configs = []
    for seed in range(options.seeds):
        one = copy.deepcopy(config)
        one["trainer"]["max_epochs"] = options.epochs
        one["seed_everything"] = seed
        configs.append(one)
    runs: list[list[Timing]] = [[], []]
    for _ in range(options.rounds):
        for found, function in zip(runs, (alone, at_once), strict=True):
            found.append(timed(function, configs))
    one, all_at_once = ([statistics.median(each) for each in zip(*found, strict=True)] for found in runs)
    return (one[0], one[1], 1), (all_at_once[0], all_at_once[1], int(all_at_once[2]))


def main() -> None:
    """Print a table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--config", default="gnet:digits")
    words.add_argument("--clusters", type=int, nargs="+", default=[1, 16])
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--epochs", type=int, default=12, help="epochs that are timed")
    words.add_argument("--rounds", type=int, default=3)
    options, rest = words.parse_known_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    print("| clusters | one by one, ms an epoch | at once, ms an epoch and trial | ratio | start of both, s | table, s | ratio |")
    totals = [0.0, 0.0]
    for number in options.clusters:
        rule = ["--model.symmetry=Symmetric"] if number == 1 else [f"--model.symmetry.num_clusters={number}"]
        config = resolve(["--config", options.config, *rest, *rule])
        config.pop("study", None)
        epochs = config["trainer"]["max_epochs"]
        single, stack = column(config, options)
        table = [options.seeds * (single[0] + epochs * single[1])]
        table.append(options.seeds / stack[2] * (stack[0] + epochs * stack[1]))
        totals = [total + each for total, each in zip(totals, table, strict=True)]
        each = stack[1] / stack[2]
        print(
            f"| {number} | {1e3 * single[1]:.1f} | {1e3 * each:.1f} (stack of {stack[2]}) | {single[1] / each:.2f} | "
            f"{single[0]:.1f}, {stack[0]:.1f} | {table[0]:.0f}, {table[1]:.0f} | {table[0] / table[1]:.2f} |",
            flush=True,
        )
    print(f"whole table of {options.seeds} seeds: {totals[0]:.0f} s and {totals[1]:.0f} s, ratio {totals[0] / totals[1]:.2f}")


if __name__ == "__main__":
    main()
