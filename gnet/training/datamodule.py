"""What every data module has in common: batches with masks, seeded order, splits that are made once."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch_geometric.data import Data

from gnet.counts import check_count
from gnet.errors import ConfigError, DataError, ShapeError
from gnet.randomness import derive_seed
from gnet.training.shares import ShareOfBatches, processes_of
from gnet.training.standardise import Scaling, Standardiser

if TYPE_CHECKING:
    from torchmetrics import Metric

    from gnet.training.checkpoint import Domain

Split = Literal["train", "val", "test", "predict"]
Target = Literal["node", "graph"]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "predict")


class Batch(NamedTuple):
    """What every data loader yields: standardised, without NaN (a missing input is 0, the mean).

    Shapes:
        x: (B, N, C_in)
        y: (B, N, C_out), or (B, C_out) where the target is one value per graph; of K classes C_out = K, with 1 at the known one
        mask: bool, like y: the entries that count in loss and metrics; the same for all classes of a target
    """

    x: Tensor
    y: Tensor
    mask: Tensor


class Samples(Dataset[Batch]):
    """Samples of one split that are read many at once: ``samples[indices]`` is a ``Batch``."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def __getitem__(self, indices: Any) -> Batch:
        """The samples at ``indices``, a list or tensor of integers, as one batch."""

    def __getitems__(self, indices: list[int]) -> Batch:
        """What PyTorch's loader asks for: a whole batch by one indexing, instead of sample by sample."""
        return self[torch.as_tensor(indices, dtype=torch.long)]

    def all(self) -> Batch:
        """The whole split as one batch."""
        return self[torch.arange(len(self))]


class ArraySamples(Samples):
    """Samples kept as three arrays.

    Raises:
        ShapeError: x, y and mask do not fit together.

    Example:
        >>> samples = ArraySamples(torch.zeros(5, 4, 1), torch.ones(5, 4, 2))
        >>> len(samples), samples[torch.tensor([0, 3])].y.shape
        (5, torch.Size([2, 4, 2]))
    """

    def __init__(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> None:
        mask = torch.ones_like(y, dtype=torch.bool) if mask is None else mask
        if x.ndim != 3 or y.ndim not in (2, 3) or len(x) != len(y) or mask.shape != y.shape or mask.dtype != torch.bool:
            raise ShapeError(
                "expected x (B, N, C), y (B, N, C') or (B, C') and a bool mask like y, "
                f"got x {tuple(x.shape)}, y {tuple(y.shape)}, mask {tuple(mask.shape)} {mask.dtype}"
            )
        self.batch = Batch(x, y, mask)

    def __len__(self) -> int:
        return len(self.batch.x)

    def __getitem__(self, indices: Any) -> Batch:
        return Batch(*(each[indices] for each in self.batch))

    def all(self) -> Batch:
        """The arrays themselves, not a copy."""
        return self.batch


class SeededSampler(Sampler[int]):
    """A random order that depends on (seed, epoch) alone, so that a resumed run sees the batches of an undisturbed one.

    Lightning calls ``set_epoch`` before each epoch.

    Example:
        >>> sampler = SeededSampler(6, seed=0)
        >>> sampler.set_epoch(3)
        >>> list(sampler) == list(sampler), sorted(sampler)
        (True, [0, 1, 2, 3, 4, 5])
    """

    def __init__(self, num_samples: int, seed: int) -> None:
        self.num_samples, self.seed, self.epoch = num_samples, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "batches", self.epoch))
        return iter(torch.randperm(self.num_samples, generator=generator).tolist())

    def __len__(self) -> int:
        return self.num_samples


@dataclass(frozen=True)
class ToPredict:
    """What ``predict`` runs over, and what its file says beside the predictions.

    Shapes:
        labels: M names of samples
        truth: M samples whose y are the targets as they stand in the user's file, in physical units and the file's precision,
            NaN where missing; None takes those of ``samples``
        times: for each of the M samples, the moments of the steps it forecasts; None where it forecasts none

    ``fills`` says that predictions are to fill the gaps of the targets.
    """

    samples: Samples
    labels: Sequence[str]
    truth: Samples | None = None
    fills: bool = False
    times: Sequence[Sequence[str]] | None = None


@dataclass(frozen=True)
class Prepared:
    """All that a data module offers once it is set up; made by ``GraphDataModule.build``.

    The split "predict" is what a study compares its runs on; ``to_predict`` is what the command ``predict`` runs over, the same
    samples where it is None. ``classes`` names those that the targets tell apart; with None the targets are numbers.
    """

    graph: Data
    scaling: Scaling
    samples: Mapping[Split, Samples]
    labels: Mapping[Split, Sequence[str]]
    node_ids: list[str]
    target: Target = "node"
    grid_shape: tuple[int, int] | None = None
    to_predict: ToPredict | None = None
    classes: list[str] | None = None


class GraphDataModule(L.LightningDataModule):
    """Signals on one fixed graph, split, masked and standardised; a subclass says how in ``build``.

    What is random comes from three seeds: ``draw`` redraws the training set and nothing else, ``seed`` the cut into training
    and validation, the masks and the order of batches, ``study_seed`` what all runs of a study share (test masks).

    Args:
        root: parent folder of the data; None is the environment variable GNET_DATA, or else the user's cache.
        seed: of this run.
        draw: which of the possible training sets; 0 is the published one, or the data as they are.
        study_seed: of the study this run belongs to.
        batch_size: samples per batch; None takes the whole split at once. Several processes have a share each.
        num_workers: processes that load batches.
    """

    def __init__(
        self,
        root: str | None = None,
        seed: int = 0,
        draw: int = 0,
        study_seed: int = 0,
        batch_size: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        check_count(0, seed=seed, draw=draw, study_seed=study_seed, num_workers=num_workers)
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"expected batch_size >= 1, or None for the whole split at once, got {batch_size}")
        self.root = root
        self.seed, self.draw, self.study_seed = seed, draw, study_seed
        self.batch_size, self.num_workers = batch_size, num_workers
        self.trained: Domain | None = None
        self.only_predicts = False
        self._prepared: Prepared | None = None

    def in_units_of(self, trained: "Domain", *, only_predicts: bool = False) -> None:
        """From now on make the data in the units of a trained net, where a missing input is 0, instead of fitting units to them.

        ``only_predicts`` says that ``to_predict`` is all that will be asked for, so that ``build`` may do without splits and
        targets.
        """
        self.trained, self.only_predicts, self._prepared = trained, only_predicts, None

    def trained_units(self, channels: int, steps: int = 1) -> Standardiser | None:
        """Those of the inputs of the trained net, if it has ``steps`` times these channels (else loading it is refused)."""
        if self.trained is None or self.trained.in_channels != steps * channels:
            return None
        there = self.trained.scaling.x
        return Standardiser(there.mean[:channels], there.std[:channels])

    def build(self) -> Prepared:
        """Read, split, mask and standardise; called once, by ``setup``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is built: override build()")

    def describe(self) -> dict[str, Any]:
        """The data card: name, source, licence, shapes, units, splits, checksum."""
        raise NotImplementedError(f"{type(self).__name__} has no data card: override describe()")

    def metrics(self) -> "dict[str, Metric]":
        """What the errors of this data are called, beside the loss: new metrics in physical units, by name.

        Each is updated with ``(prediction, target, mask)``, all (B, N, C'), and computes a number. Of classes the predictions
        are probabilities, and the metrics accuracy and macro F1.
        """
        if self.classes is None:
            return {}
        from gnet.training.metrics import MaskedAccuracy, MaskedF1

        return {"accuracy": MaskedAccuracy(len(self.classes)), "f1_macro": MaskedF1(len(self.classes))}

    def setup(self, stage: str | None = None) -> None:
        """Make all splits; a second call does nothing."""
        if self._prepared is None:
            prepared = self.build()
            asked: tuple[Split, ...] = ("predict",) if self.only_predicts else SPLITS
            empty = [split for split in asked if len(prepared.samples[split]) == 0]
            if empty:
                raise DataError(f"{type(self).__name__}: the splits {empty} have no sample; give more data")
            self._prepared = prepared

    @property
    def prepared(self) -> Prepared:
        """Everything made by ``setup``, which is called when it was not yet."""
        self.setup()
        if self._prepared is None:
            raise DataError(f"{type(self).__name__}.setup() was overridden and made nothing; override build() instead")
        return self._prepared

    @property
    def graph(self) -> Data:
        """The graph: ``edge_index``, ``num_nodes``, perhaps ``edge_weight`` and ``pos``."""
        return self.prepared.graph

    @property
    def grid_shape(self) -> tuple[int, int] | None:
        """(H, W) where the nodes are the pixels of an image, row by row."""
        return self.prepared.grid_shape

    @property
    def bones(self) -> Tensor | None:
        """Where targets are the positions of nodes in space: the pairs of nodes that a picture joins, (2, E)."""
        return None

    @property
    def in_channels(self) -> int:
        """C_in of the batches."""
        return self.scaling.x.channels

    @property
    def out_channels(self) -> int:
        """C_out of the batches."""
        return self.scaling.y.channels

    @property
    def target(self) -> Target:
        """Whether there is one target for each node, or one for the whole graph."""
        return self.prepared.target

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes 0..K-1 that the targets tell apart; None where the targets are numbers."""
        return self.prepared.classes

    @property
    def missing_input(self) -> float | None:
        """What a missing reading enters the net as, in physical units; None is the mean, 0 in model units."""
        return None

    @property
    def node_ids(self) -> list[str]:
        """The users' names of the nodes 0..N-1."""
        return self.prepared.node_ids

    @property
    def scaling(self) -> Scaling:
        """The standardisers of inputs and targets."""
        return self.prepared.scaling

    @property
    def standardiser(self) -> Standardiser:
        """The standardiser of the inputs."""
        return self.scaling.x

    @property
    def num_samples(self) -> int | None:
        """Training samples; None where only those to predict are read."""
        samples = self.prepared.samples.get("train")
        return None if samples is None else len(samples)

    def sample_labels(self, split: Split) -> list[str]:
        """A name for every sample of a split, in order: its time stamp or running number."""
        return list(self.prepared.labels[split])

    def samples(self, split: Split) -> Samples:
        """The samples of a split, to be indexed."""
        return self.prepared.samples[split]

    def train_arrays(self) -> Batch:
        """The whole training split as one batch."""
        return self.samples("train").all()

    def val_arrays(self) -> Batch:
        """The whole validation split as one batch."""
        return self.samples("val").all()

    def test_arrays(self) -> Batch:
        """The whole test split as one batch."""
        return self.samples("test").all()

    def predict_arrays(self) -> Batch:
        """The test split with the masks of the study's seed, as one batch: bias and variance are computed on it."""
        return self.samples("predict").all()

    @property
    def to_predict(self) -> ToPredict:
        """What the command ``predict`` runs over: all there is in a user's files, else the split "predict"."""
        given = self.prepared.to_predict
        return ToPredict(self.samples("predict"), self.sample_labels("predict")) if given is None else given

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches in a new seeded order every epoch."""
        samples = self.samples("train")
        return self.loader(samples, SeededSampler(len(samples), self.seed))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches in fixed order; the last one may be smaller, none is padded."""
        return self.loader(self.samples("val"))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches in fixed order; the last one may be smaller, none is padded."""
        return self.loader(self.samples("test"))

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Batches of ``to_predict`` in fixed order."""
        return self.loader(self.to_predict.samples)

    def loader(self, samples: Samples, sampler: SeededSampler | None = None) -> DataLoader[Batch]:
        """Batches of ``samples`` in the order of the sampler, or in fixed order without one.

        Under a trainer of several processes each reads its share of every batch (``ShareOfBatches``).
        """
        process, num_processes = processes_of(self.trainer)
        size: int | None = self.batch_size or len(samples)
        order: Sampler[Any] | None = sampler
        if num_processes > 1:
            order, size = ShareOfBatches(len(samples), int(size or 1), sampler, process, num_processes), None
        return DataLoader(
            samples,
            batch_size=size,
            sampler=order,
            num_workers=self.num_workers,
            collate_fn=already_collated,
            persistent_workers=self.num_workers > 0,
            # Every pass over a loader draws one number; without its own generator it would shift the global one.
            generator=torch.Generator().manual_seed(derive_seed(self.seed, "batches")),
        )


def already_collated(batch: Any) -> Any:
    """``Samples`` are read by the batch, so there is nothing to collate."""
    return batch
