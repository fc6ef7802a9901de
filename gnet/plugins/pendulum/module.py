"""Training of learned motion with Lightning: loss through the solver, published schedules, chunks of paths as data."""

import math
from dataclasses import dataclass

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gnet.errors import ConfigError, ConvergenceError
from gnet.plugins.pendulum.data import PendulumData
from gnet.plugins.pendulum.models import check_model
from gnet.plugins.pendulum.solvers import Method, integrate
from gnet.plugins.tensors import shared_maps


@dataclass(frozen=True)
class Schedule:
    """Adam's step: ``lr`` times the factor of the first share of the epochs that is not over.

    Raises:
        ConfigError: shares that do not grow to 1.

    Example:
        >>> [round(Schedule(5e-3, ((0.1, 1.0), (0.5, 0.4), (1.0, 0.1))).factor(epoch, 2000), 3) for epoch in (0, 200, 1999)]
        [1.0, 0.4, 0.1]
    """

    lr: float
    steps: tuple[tuple[float, float], ...] = ((1.0, 1.0),)

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.steps]
        if shares != sorted(set(shares)) or not shares or shares[-1] != 1.0:
            raise ConfigError(f"expected shares of the epochs that grow to 1.0, got {shares}")

    def factor(self, epoch: int, epochs: int) -> float:
        """Of an epoch among ``epochs``."""
        return next((factor for share, factor in self.steps if epoch < share * epochs), self.steps[-1][1])


SCHEDULES = {
    ("hnn", "scalars"): Schedule(5e-3, ((0.1, 1.0), (0.5, 0.4), (1.0, 0.1))),
    ("node", "scalars"): Schedule(5e-3, ((0.15, 1.0), (0.6, 0.5), (1.0, 0.2))),
}
"""The published steps for the models of scalars, as shares of 2000 epochs; the others have 3e-3 throughout."""


def schedule_of(kind: str, model: str) -> Schedule:
    """The published schedule of a model.

    Raises:
        ConfigError: another kind or model.

    Example:
        >>> schedule_of("hnn", "mlp").lr
        0.003
    """
    check_model(kind, model)
    return SCHEDULES.get((kind, model), Schedule(3e-3))


class PendulumModule(pl.LightningModule):
    """Fits a field so that its path from the first state of a chunk meets the others: the mean square over times and entries.

    Args:
        field: dz/dt as a module.
        times: of the states of a chunk, (T,).
        schedule: of Adam.
        method, substeps, rtol, atol: of ``integrate``.

    Shapes:
        batch: (chunks,) with chunks (B, T, 12)

    Raises:
        ConvergenceError: (in training) a loss that is not finite, with the epoch; of "dopri5" a path without end, with the time.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 7.2; Yao et al. (2021), arXiv:2110.03761.

    Example:
        >>> from gnet.plugins.pendulum import field_of, pendulum_data
        >>> data = pendulum_data(4, 2, 2, num_times=5)
        >>> module = PendulumModule(field_of("hnn", "mlp"), data.chunk_times)
        >>> module(data.train[:, 0]).shape
        torch.Size([4, 5, 12])
    """

    def __init__(
        self,
        field: nn.Module,
        times: Tensor,
        schedule: Schedule | None = None,
        method: Method = "rk4",
        substeps: int = 2,
        rtol: float = 1e-4,
        atol: float = 1e-4,
    ) -> None:
        super().__init__()
        self.field, self.schedule = field, schedule or Schedule(3e-3)
        self.method, self.substeps, self.rtol, self.atol = method, substeps, rtol, atol
        self.register_buffer("times", times)

    times: Tensor

    def forward(self, z: Tensor, times: Tensor | None = None) -> Tensor:
        """The path from a state, (B, 12) -> (B, T, 12)."""
        chosen = self.times if times is None else times
        with shared_maps(self.field):
            return integrate(
                self.field,
                z,
                chosen,
                self.method,
                substeps=self.substeps,
                rtol=self.rtol,
                atol=self.atol,
                check=False,  # the loss tells, with the epoch
            )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        loss = self._loss(batch)
        if not math.isfinite(float(loss.detach())):
            raise ConvergenceError(f"the loss is not finite in epoch {self.current_epoch}; take a lower lr, or clip gradients")
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Logs ``val_loss``."""
        self.log("val_loss", self._loss(batch))

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Logs ``test_loss``."""
        self.log("test_loss", self._loss(batch))

    def _loss(self, batch: list[Tensor]) -> Tensor:
        chunks = batch[0]
        return (self(chunks[:, 0]) - chunks).square().mean()

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """Adam with the schedule over the trainer's epochs."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.schedule.lr)
        epochs = max(self.trainer.max_epochs or 1, 1)
        rule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: self.schedule.factor(epoch, epochs))
        return [optimizer], [rule]


class PendulumChunks(pl.LightningDataModule):
    """Chunks of paths; all 500 at once, as published.

    Args:
        data: of ``pendulum_data``.
        batch_size: of all three parts.
        seed: of the order of smaller batches.

    Example:
        >>> from gnet.plugins.pendulum import pendulum_data
        >>> next(iter(PendulumChunks(pendulum_data(4, 2, 2, num_times=5)).train_dataloader()))[0].shape
        torch.Size([4, 5, 12])
    """

    def __init__(self, data: PendulumData, batch_size: int = 500, seed: int = 0) -> None:
        super().__init__()
        self.chunks, self.batch_size, self.seed = data, batch_size, seed

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """In random order."""
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(TensorDataset(self.chunks.train), self.batch_size, shuffle=True, generator=generator)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """In order."""
        return DataLoader(TensorDataset(self.chunks.val), self.batch_size)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """In order."""
        return DataLoader(TensorDataset(self.chunks.test), self.batch_size)
