"""Functions of the spectrum of a Coulomb matrix, learned from its entries as sets, in sorted rows, and from its eigenvalues."""

import time
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gnet.errors import ConfigError
from gnet.plugins.point_clouds.coulomb import coulomb_matrix, random_molecules, read_qm7b, spectral_targets
from gnet.plugins.point_clouds.models import ConjInvariantDeepSet
from gnet.plugins.point_clouds.spectrum_models import Batch, SortedRows, SpectrumModule
from gnet.randomness import derive_seed
from gnet.study.fitting import fit
from gnet.study.simulate import Measured, Simulation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"all": "both sets and the mixed sum", "sets": "both sets", "sorted": "sorted rows", "eigenvalues": "eigenvalues"}
TARGETS = ("largest", "gap", "roots")
FOLDS = 10
"""Of QM7b."""

LARGEST_ERROR = 0.1
"""What the mean error of "all" may be, fixed after a first run on other molecules."""


class CoulombSpectra(Simulation):
    """Mean absolute errors of three functions of the spectrum of Coulomb matrices, in units of those of the best constant.

    "all" is ``ConjInvariantDeepSet``, "sets" the same without the mixed sum. "sorted" puts the rows in the order of their
    lengths and flattens the matrix: invariant, and not continuous where two rows tie. "eigenvalues" is told the spectrum.

    Args:
        models: among "all", "sets", "sorted" and "eigenvalues".
        seeds: repetitions, of molecules and weights; of QM7b folds, ten at most.
        num_train, num_val, num_test: molecules; the loss on the second decides when steps get smaller.
        num_atoms: of a molecule.
        hidden: channels of hidden layers.
        expansion: theta of the soft steps that entries are expanded in; 0 leaves them out.
        epochs: of training.
        batch_size: molecules of a batch.
        lr: of Adam, times .8 where the validation loss has not fallen for ``patience`` epochs.
        patience: as said.
        qm7b: the file qm7b.mat; its molecules and 14 targets then take the place of those made up, a tenth for the test.

    Raises:
        ConfigError: a model that does not exist, or numbers below one.

    References:
        Blum-Smith, Huang, Cuturi and Villar (2024), arXiv:2405.08097, on QM7b; for sorted rows Rupp et al. (2012),
        Physical Review Letters 108, 058301.
    """

    def __init__(
        self,
        models: list[str] | None = None,
        seeds: int = 3,
        num_train: int = 2000,
        num_val: int = 500,
        num_test: int = 1000,
        num_atoms: int = 8,
        hidden: int = 64,
        expansion: float = 0.0,
        epochs: int = 100,
        batch_size: int = 128,
        lr: float = 3e-3,
        patience: int = 10,
        qm7b: str | None = None,
    ) -> None:
        self.models = models or list(NAMES)
        if wrong := [each for each in self.models if each not in NAMES]:
            raise ConfigError(f"expected models among {', '.join(NAMES)}, got {wrong[0]!r}")
        if min(seeds, num_train, num_val, num_test, num_atoms - 1, hidden, epochs, batch_size) < 1 or expansion < 0:
            raise ConfigError("expected seeds, molecules, hidden, epochs and batch_size >= 1, num_atoms >= 2 and expansion >= 0")
        if qm7b and seeds > FOLDS:
            raise ConfigError(f"expected at most {FOLDS} seeds with QM7b, one for each fold, got {seeds}")
        self.sizes, self.num_atoms, self.seeds = (num_train, num_val, num_test), num_atoms, seeds
        self.hidden, self.expansion, self.epochs, self.batch_size = hidden, expansion or None, epochs, batch_size
        self.lr, self.patience, self.qm7b = lr, patience, qm7b

    def run(self) -> list[Measured]:
        """Draw or read, train and measure."""
        lines = []
        for seed, (train, val, test) in enumerate(self.parts()):
            middle = train[1].median(0).values
            constant = (test[1] - middle).abs().mean(0)
            for model in self.models:
                begun = time.monotonic()
                error = self.error(model, train, val, test, seed) / constant
                values = dict(zip(target_names(error.numel()), error.tolist(), strict=True))
                for quantity, value in {**values, "mean": fmean(values.values()), "seconds": time.monotonic() - begun}.items():
                    settings = {"model": model, "seed": str(seed)}
                    lines.append(Measured(quantity, settings, value, float("nan"), float("nan"), "unknown"))
        return lines

    def parts(self) -> Iterator[tuple[Batch, Batch, Batch]]:
        """For each seed matrices and targets for training, validation and the test."""
        if self.qm7b:
            matrices, targets = read_qm7b(self.qm7b)
            order = torch.randperm(len(matrices), generator=torch.Generator().manual_seed(derive_seed(0, "folds")))
            folds = order.tensor_split(FOLDS)
            for seed in range(self.seeds):
                rest = torch.cat([fold for place, fold in enumerate(folds) if place != seed])
                places = (*rest.tensor_split([len(rest) - len(folds[seed])]), folds[seed])
                train, val, test = (([matrices[i].float() for i in each], targets[each].float()) for each in places)
                yield train, val, test
            return
        for seed in range(self.seeds):
            drawn = torch.Generator().manual_seed(derive_seed(seed, "molecules"))
            made = random_molecules(sum(self.sizes), self.num_atoms, drawn)
            X = coulomb_matrix(made.charges, made.positions)
            pieces = zip(X.float().split(self.sizes), spectral_targets(X).float().split(self.sizes), strict=True)
            train, val, test = pieces
            yield train, val, test

    def error(self, model: str, train: Batch, val: Batch, test: Batch, seed: int) -> Tensor:
        """Mean absolute errors of each target on the test molecules after training, (targets,)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights", model))
            net = self.net(model, train)
            module = SpectrumModule(net, train[1], self.lr, self.patience)
        shuffled = torch.Generator().manual_seed(derive_seed(seed, "batches"))
        loader = DataLoader(_items(train), self.batch_size, shuffle=True, collate_fn=together, generator=shuffled)
        fit(module, loader, DataLoader(_items(val), 500, collate_fn=together), max_epochs=self.epochs)
        module.eval()
        with torch.no_grad():
            return torch.cat([(module(X) - y).abs() for X, y in DataLoader(_items(test), 500, collate_fn=together)]).mean(0)

    def net(self, model: str, train: Batch) -> nn.Module:
        """An untrained net, its features standardised by the training molecules."""
        outputs = train[1].shape[1]
        if model in ("all", "sets"):
            return ConjInvariantDeepSet(self.hidden, outputs, expansion=self.expansion, mixed=model == "all").fit_scales(train[0])
        size = max(len(each) for each in train[0])
        return SortedRows(size, self.hidden, outputs, spectrum=model == "eigenvalues").fit_scales(train[0])

    def summary(self, lines: Sequence[Measured]) -> str:
        """The table: means over seeds."""
        quantities = list(dict.fromkeys(line.quantity for line in lines))
        rows = [f"| what is seen | {' | '.join(quantities)} |", "| --- |" + " --- |" * len(quantities)]
        for model in self.models:
            found = [_mean(lines, model, each) for each in quantities]
            cells = [
                f"{value:.0f}" if each == "seconds" else f"{value:.3f}" for each, value in zip(quantities, found, strict=True)
            ]
            rows.append(f"| {NAMES[model]} | {' | '.join(cells)} |")
        below = f"Mean absolute error over that of the median of the training targets, mean of {self.seeds} seeds."
        verdicts = []
        if "all" in self.models and not self.qm7b:
            error = _mean(lines, "all", "mean")
            verdict = "met" if error <= LARGEST_ERROR else "not met"
            verdicts = ["", f"mean error of {NAMES['all']} at most {LARGEST_ERROR}: {error:.3f}, {verdict}"]
        return "\n".join([*rows, "", below, *verdicts])

    def draw(self, lines: Sequence[Measured]) -> "Figure":
        """Errors of every model and seed, by target."""
        from gnet.study.plots import COLOURS, MARKERS, PAGE, new_figure

        figure = new_figure(PAGE, 3.0)
        axes = figure.subplots()
        quantities = [each for each in dict.fromkeys(line.quantity for line in lines) if each != "seconds"]
        for number, model in enumerate(self.models):
            mine = [line for line in lines if line.settings["model"] == model and line.quantity in quantities]
            places = [quantities.index(line.quantity) + 0.1 * number for line in mine]
            found = [line.measured for line in mine]
            axes.plot(places, found, color=COLOURS[number], marker=MARKERS[number], linestyle="none", label=NAMES[model])
        axes.set_xticks(range(len(quantities)), quantities)
        axes.set(ylabel="error, best constant = 1", yscale="log")
        axes.legend()
        return figure


def together(items: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    """Matrices and targets as one batch: matrices of one size as one tensor, others as a list.

    Example:
        >>> X, y = together([(torch.eye(2), torch.zeros(3)), (torch.eye(2), torch.ones(3))])
        >>> X.shape, y.shape
        (torch.Size([2, 2, 2]), torch.Size([2, 3]))
    """
    matrices, targets = zip(*items, strict=True)
    same = len({each.shape for each in matrices}) == 1
    return torch.stack(matrices) if same else list(matrices), torch.stack(targets)


def target_names(num: int) -> tuple[str, ...]:
    """Names of the columns of targets.

    Example:
        >>> target_names(3), target_names(2)
        (('largest', 'gap', 'roots'), ('target 1', 'target 2'))
    """
    return TARGETS if num == len(TARGETS) else tuple(f"target {place + 1}" for place in range(num))


def _items(part: Batch) -> Any:
    return list(zip(*part, strict=True))


def _mean(lines: Sequence[Measured], model: str, quantity: str) -> float:
    return fmean(line.measured for line in lines if line.settings["model"] == model and line.quantity == quantity)
