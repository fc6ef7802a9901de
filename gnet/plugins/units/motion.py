"""Table 1 of arXiv:2204.00887: a Hamiltonian of dimensionless products beside one of raw scalars, in three experiments."""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, ConvergenceError
from gnet.plugins.pendulum import HamiltonianField, integrate, state_error
from gnet.plugins.scalars import perceptron
from gnet.plugins.units.equivariant import UnitsEquivariant
from gnet.plugins.units.pendulums import (
    ENERGY,
    NAMES,
    NUM_TIMES,
    PAIRS,
    STEP,
    UNITS,
    Motion,
    dimensionless_features,
    drawn_motion,
    energy_scalings,
    pendulum_scalars,
)
from gnet.randomness import derive_seed, streams
from gnet.study.simulate import Measured, Simulation, mean_and_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("dimensional", "dimensionless")
EXPERIMENTS = ("in distribution", "kg x U(3, 7)", "m, k, l ~ U(1, 5)")
PUBLISHED = {
    "dimensional": ((0.0055, 0.0030), (0.3669, 0.0050), (0.1885, 0.0031)),
    "dimensionless": ((0.0061, 0.0024), (0.0089, 0.0034), (0.0435, 0.0047)),
}
"""Mean and standard deviation of ten trials."""
MOST, LEAST = 2.0, 20.0
"""How much larger the second error may be with dimensionless products, and has to be with raw scalars."""


class Standardised(nn.Module):
    """A perceptron whose inputs have mean 0 and deviation 1 on the training set, and whose outputs have given factors.

    Args:
        examples: inputs of training.
        factors: of the outputs.

    Shapes:
        examples: (B, F)    factors: (J,)    x: (..., F)    returns: (..., J)

    Example:
        >>> Standardised(torch.randn(50, 4), torch.ones(2), 8, 1)(torch.zeros(7, 4)).shape
        torch.Size([7, 2])
    """

    def __init__(self, examples: Tensor, factors: Tensor, hidden: int, layers: int) -> None:
        super().__init__()
        self.mlp = perceptron([examples.shape[1], *[hidden] * layers, len(factors)])
        self.register_buffer("mean", examples.mean(0))
        self.register_buffer("deviation", examples.std(0))
        self.register_buffer("factors", factors)

    mean: Tensor
    deviation: Tensor
    factors: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return self.factors * self.mlp((x - self.mean) / self.deviation)


def raw_scalars(x: Tensor) -> Tensor:
    """The 32 numbers of the baseline: constants and their inverses, lengths and their squares, products.

    Shapes:
        x: the 21 scalars, (..., 21)    returns: (..., 32)

    Example:
        >>> raw_scalars(torch.ones(5, 21)).shape
        torch.Size([5, 32])
    """
    constants = x[..., :6]
    lengths = x[..., [NAMES.index(name) for name in ("g", "p1", "p2", "q1", "q21")]]
    pairs = x[..., [NAMES.index(name) for name in PAIRS]]
    return torch.cat([constants, 1 / constants, lengths, lengths.square(), pairs], -1)


class PendulumHamiltonian(nn.Module):
    """H of a state and constants: sum_j s_j F_j of dimensionless products, or a perceptron on raw scalars.

    Changes of the units carry the first along exactly: the energies s_j are divided by numbers, nothing is subtracted.

    Args:
        model: "dimensionless" or "dimensional".
        motion: of training, for means and deviations of inputs and sizes of the s_j.

    Shapes:
        z: (B, 12)    constants: (B, 9)    returns: (B, 1)

    Raises:
        ConfigError: another model.

    Example:
        >>> H = PendulumHamiltonian("dimensionless", drawn_motion(9, chunk=2, num_times=2))
        >>> H(torch.randn(7, 12), torch.ones(7, 9)).shape
        torch.Size([7, 1])
    """

    def __init__(self, model: str, motion: Motion, hidden: int = 100, layers: int = 6) -> None:
        super().__init__()
        if model not in MODELS:
            raise ConfigError(f"expected a model among {', '.join(MODELS)}, got {model!r}")
        x = pendulum_scalars(motion.chunks[:, 0], motion.constants).float()
        if model == "dimensional":
            self.of_scalars: nn.Module = nn.Sequential(_Raw(), Standardised(raw_scalars(x), torch.ones(1), hidden, layers))
            return
        kinds = {"in_units": UNITS, "out_units": ENERGY, "scalings": energy_scalings(), "features": dimensionless_features()}
        probe = UnitsEquivariant(nn.Identity(), log=False, **kinds)  # type: ignore[arg-type]
        sizes = probe.scales(x).square().mean(0).sqrt()
        net = Standardised(probe.features(x), 1 / sizes, hidden, layers)
        self.of_scalars = UnitsEquivariant(net, log=False, **kinds)  # type: ignore[arg-type]

    def forward(self, z: Tensor, constants: Tensor) -> Tensor:
        """Apply the function."""
        return self.of_scalars(pendulum_scalars(z, constants))


class _Raw(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return raw_scalars(x)


class _Given(nn.Module):
    """A Hamiltonian at fixed constants."""

    def __init__(self, hamiltonian: nn.Module, constants: Tensor) -> None:
        super().__init__()
        self.hamiltonian, self.constants = hamiltonian, constants

    def forward(self, z: Tensor) -> Tensor:
        return self.hamiltonian(z, self.constants)


def rollout(hamiltonian: nn.Module, motion: Motion, num_times: int, substeps: int = 2) -> Tensor:
    """Learned paths from the first states of the chunks, (num, ``num_times``, 12); NaN or infinite from where one diverges.

    Example:
        >>> motion = drawn_motion(3, chunk=2, num_times=2)
        >>> rollout(PendulumHamiltonian("dimensional", motion), motion, 4).shape
        torch.Size([3, 4, 12])
    """
    field = HamiltonianField(_Given(hamiltonian, motion.constants.float()))
    times = STEP * torch.arange(num_times, dtype=torch.float64)
    return integrate(field, motion.chunks[:, 0].float(), times, substeps=substeps, check=False)


def in_old_kilograms(path: Tensor, factors: Tensor) -> Tensor:
    """Paths with their momenta counted in the unit of mass before ``Motion.heavier``: what they are worth compares then.

    Shapes:
        path: (num, T, 12)    factors: (num,)    returns: (num, T, 12)

    Example:
        >>> in_old_kilograms(torch.ones(1, 1, 12), torch.tensor([4.0]))[0, 0, [0, 6]]
        tensor([1.0000, 0.2500])
    """
    return torch.cat([path[..., :6], path[..., 6:] / factors.to(path)[:, None, None]], -1)


def chunk_errors(hamiltonian: nn.Module, constants: Tensor, chunks: Tensor) -> Tensor:
    """Mean square errors of learned paths, of each chunk; not finite where a path diverges.

    Shapes:
        constants: (num, 9)    chunks: (num, T, 12)    returns: (num,)

    Example:
        >>> motion = drawn_motion(3, chunk=2, num_times=2)
        >>> chunk_errors(PendulumHamiltonian("dimensional", motion), motion.constants, motion.chunks.float()).shape
        torch.Size([3])
    """
    return (rollout(hamiltonian, Motion(constants, chunks), chunks.shape[1]) - chunks).square().mean((1, 2))


class DimensionlessPendulum(Simulation):
    """Trains both Hamiltonians in one place and measures in three: the same law, other kilograms, larger constants.

    Where a learned path diverges within a chunk, the pendulum is left out of that step of training, and counted. A step whose
    gradient is not finite all the same is not taken, and all its pendulums count. In tests the error of a path is 1 from where
    it diverges.

    Args:
        models: "dimensional", "dimensionless".
        seeds: repetitions, of data and weights; ten as published.
        num_train, num_val, num_test: pendulums.
        chunk: states of a training chunk, 0.2 apart.
        epochs, batch, lr, clip: of Adam; ``clip`` is the largest norm of the gradient.
        hidden, layers: of the perceptrons.
        num_times: of the paths that errors are measured on.
        kappa: of the second spring.
        first_seed: so that seeds can be divided among processes. With one ``--out`` for all of them, the command with all seeds
            gathers what each has measured.

    Raises:
        ConfigError: a model that does not exist, or numbers below one.

    References:
        Villar, Yao, Hogg, Blum-Smith and Dumitrascu (2023), arXiv:2204.00887, table 1.
    """

    def __init__(
        self,
        models: list[str] | None = None,
        seeds: int = 10,
        num_train: int = 30_000,
        num_val: int = 100,
        num_test: int = 500,
        chunk: int = 10,
        epochs: int = 250,
        batch: int = 512,
        lr: float = 1e-3,
        clip: float = 0.5,
        hidden: int = 100,
        layers: int = 6,
        num_times: int = NUM_TIMES,
        kappa: float = 1.0,
        first_seed: int = 0,
    ) -> None:
        self.models = models or list(MODELS)
        if wrong := [each for each in self.models if each not in MODELS]:
            raise ConfigError(f"expected models among {', '.join(MODELS)}, got {wrong[0]!r}")
        if min(seeds, num_train, num_val, num_test, epochs, batch, hidden, layers) < 1:
            raise ConfigError("expected seeds, numbers of pendulums, epochs, batch, hidden and layers >= 1")
        self.seeds, self.sizes, self.chunk, self.epochs = seeds, (num_train, num_val, num_test), chunk, epochs
        self.batch, self.lr, self.clip, self.hidden, self.layers = batch, lr, clip, hidden, layers
        self.num_times, self.kappa, self.first_seed = num_times, kappa, first_seed

    def data(self, seed: int) -> tuple[Motion, Motion, list[Motion]]:
        """Training, validation, and the three tests."""
        random = streams(seed)
        num_train, num_val, num_test = self.sizes

        def drawn(num: int, name: str, high: float = 2.0) -> Motion:
            generator = torch.Generator().manual_seed(derive_seed(seed, "units", name))
            return drawn_motion(num, self.chunk, high, num_times=self.num_times, kappa=self.kappa, generator=generator)

        test = drawn(num_test, "test")
        factors = 3 + 4 * torch.rand(num_test, dtype=torch.float64, generator=random["noise"])
        tests = [test, test.heavier(factors), drawn(num_test, "wide", 5.0)]
        return drawn(num_train, "train"), drawn(num_val, "val"), tests

    def run(self) -> list[Measured]:
        """Train and measure, seed by seed."""
        found = self.over_runs(range(self.first_seed, self.first_seed + self.seeds), self.run_seed)
        values: dict[tuple[str, str, str], list[float]] = {}
        for line in (line for lines in found.values() for line in lines):
            key = line.quantity, line.settings["model"], line.settings.get("experiment", "")
            values.setdefault(key, []).append(line.measured)
        lines = []
        for (quantity, model, name), each in values.items():
            settings = {"model": model} | ({"experiment": name, "seeds": str(self.seeds)} if name else {})
            known = PUBLISHED[model][EXPERIMENTS.index(name)][0] if quantity == "state_error" else math.nan
            lines.append(Measured(quantity, settings, *mean_and_error(each), known, "unknown"))
        return lines

    def run_seed(self, seed: int) -> list[Measured]:
        """Train and measure once."""
        lines = []

        def add(quantity: str, value: float, **settings: str) -> None:
            lines.append(Measured(quantity, settings, value, math.nan, math.nan, "unknown"))

        train, val, tests = self.data(seed)
        truths = [test.paths(self.num_times, self.kappa) for test in tests]
        factors = tests[1].constants[:, 0] / tests[0].constants[:, 0]
        for model in self.models:
            begun = time.monotonic()
            hamiltonian, share = self.fit(model, train, seed)
            with torch.no_grad():
                for name, test, truth in zip(EXPERIMENTS, tests, truths, strict=True):
                    # Finer than in training: springs of the third experiment are stiffer.
                    path = rollout(hamiltonian, test, self.num_times, substeps=4).double()
                    lost = float((~path.isfinite()).flatten(1).any(1).double().mean())
                    add("state_error", state_error(path, truth), model=model, experiment=name)
                    add("diverged", lost, model=model, experiment=name)
                    if name == EXPERIMENTS[1]:
                        known = (in_old_kilograms(each, factors) for each in (path, truth))
                        add("state_error_in_old_kg", state_error(*known), model=model, experiment=name)
                add("val_loss", float(chunk_errors(hamiltonian, val.constants, val.chunks).mean()), model=model)
            add("left_out", share, model=model)
            add("seconds_per_run", time.monotonic() - begun, model=model)
        return lines

    def fit(self, model: str, train: Motion, seed: int) -> tuple[PendulumHamiltonian, float]:
        """The trained Hamiltonian, and the share of pendulums that steps left out since their paths diverged.

        Raises:
            ConvergenceError: a step in which all paths diverge, with the epoch.
        """
        generator = torch.Generator().manual_seed(derive_seed(seed, "units", model))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "units", "weights", model))
            net = PendulumHamiltonian(model, train, self.hidden, self.layers)
        optimizer = torch.optim.Adam(net.parameters(), lr=self.lr)
        constants, chunks = train.constants.float(), train.chunks.float()
        left_out = 0
        for epoch in range(self.epochs):
            for chosen in torch.randperm(len(train), generator=generator).split(self.batch):
                errors = chunk_errors(net, constants[chosen], chunks[chosen])
                is_finite = errors.detach().isfinite()
                if not bool(is_finite.any()):
                    raise ConvergenceError(f"all paths diverge in epoch {epoch}; take a lower lr")
                if not bool(is_finite.all()):  # again without them, since gradients of what is not finite spoil the sum
                    left_out += int((~is_finite).sum())
                    errors = chunk_errors(net, constants[chosen[is_finite]], chunks[chosen[is_finite]])
                optimizer.zero_grad()
                errors.mean().backward()
                if not bool(nn.utils.clip_grad_norm_(net.parameters(), self.clip).isfinite()):
                    left_out += int(is_finite.sum())  # finite paths of infinite slope: the step would leave no weight finite
                    continue
                optimizer.step()
        return net, left_out / (self.epochs * len(train))

    def summary(self, lines: Sequence[Measured]) -> str:
        """The table, ours and in brackets the published one, and whether it counts as reproduced."""
        found = errors_of(lines)
        rows = [f"| | {' | '.join(EXPERIMENTS)} |", "|" + " --- |" * (len(EXPERIMENTS) + 1)]
        for model in self.models:
            cells = [
                f"{found[model, name]:.4f} ({theirs:.4f})"
                for name, (theirs, _) in zip(EXPERIMENTS, PUBLISHED[model], strict=True)
            ]
            rows.append(f"| {model} | {' | '.join(cells)} |")
        verdicts = [f"{rule}: {'met' if is_met else 'not met'}" for rule, is_met in pass_rules(found)]
        old = {line.settings["model"]: line.measured for line in lines if line.quantity == "state_error_in_old_kg"}
        second = ", ".join(f"{model} {error:.4f}" for model, error in old.items())
        verdicts = [f"{EXPERIMENTS[1]}, with paths expressed in the kilograms of training: {second}.", "", *verdicts]
        below = f"Geometric mean of relative errors of states; in brackets the published mean. Seeds: {self.seeds}."
        return "\n".join([*rows, "", below, "", *verdicts])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Errors of both models in the three experiments, beside those published."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure, found = new_figure(PAGE, 2.8), errors_of(lines)
        axes = figure.add_subplot()
        for number, model in enumerate(self.models):
            style: dict[str, Any] = {"color": COLOURS[number], "marker": MARKERS[number]}
            axes.plot(EXPERIMENTS, [found[model, name] for name in EXPERIMENTS], label=model, **style)
            theirs = [mean for mean, _ in PUBLISHED[model]]
            axes.plot(EXPERIMENTS, theirs, mfc="none", ls=":", label=f"{model}, published", **style)
        axes.set(yscale="log", ylabel="error of states")
        axes.legend()
        return figure


def errors_of(lines: Sequence[Measured]) -> dict[tuple[str, str], float]:
    """State errors by model and experiment.

    Example:
        >>> errors_of([Measured("state_error", {"model": "dimensional", "experiment": "in distribution"}, 0.01, 0.0, 0.0)])
        {('dimensional', 'in distribution'): 0.01}
    """
    chosen = [line for line in lines if line.quantity == "state_error"]
    return {(line.settings["model"], line.settings["experiment"]): line.measured for line in chosen}


def pass_rules(found: dict[tuple[str, str], float]) -> list[tuple[str, bool]]:
    """What the table has to show, and whether it does; rules of models that were not trained are left out.

    Example:
        >>> pass_rules({("dimensionless", name): error for name, error in zip(EXPERIMENTS, (0.01, 0.03, 0.1))})
        [('dimensionless: kg x U(3, 7) at most 2 times in distribution', False)]
    """
    rules = []
    for model, word, limit in (("dimensionless", "at most", MOST), ("dimensional", "at least", LEAST)):
        if (model, EXPERIMENTS[0]) in found:
            ratio = found[model, EXPERIMENTS[1]] / found[model, EXPERIMENTS[0]]
            is_met = ratio <= limit if word == "at most" else ratio >= limit
            rules.append((f"{model}: {EXPERIMENTS[1]} {word} {limit:.0f} times {EXPERIMENTS[0]}", is_met))
    return rules
