"""How the nets of the experiments are trained: Adam, a learning rate that falls, the weights of the best validation loss."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnet.counts import check_count
from gnet.errors import ConfigError, NonFiniteError

Data = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def norm_of_difference(y: Tensor, target: Tensor) -> Tensor:
    """Root of the sum of squares of each image, averaged over images; not divided by the number of pixels.

    Shapes:
        y, target: (B, ...)

    Example:
        >>> norm_of_difference(torch.zeros(2, 2, 2), torch.ones(2, 2, 2))
        tensor(2.)
    """
    return torch.linalg.vector_norm((y - target).flatten(1), dim=1).mean()


def relative_difference(y: Tensor, target: Tensor) -> Tensor:
    """The same of each image over the norm of its target.

    Example:
        >>> relative_difference(torch.zeros(2, 2, 2), torch.ones(2, 2, 2))
        tensor(1.)
    """
    norms = torch.linalg.vector_norm(target.flatten(1), dim=1)
    return (torch.linalg.vector_norm((y - target).flatten(1), dim=1) / norms).mean()


@dataclass(frozen=True)
class Fit:
    """Settings of a training.

    Attributes:
        lr, decay: learning rate of Adam, and the factor by which it falls in every epoch.
        max_epochs, patience: it ends after so many epochs, or after so many without a better validation loss.
        loss: of a batch.
        num_batches: of an epoch.

    Raises:
        ConfigError: numbers below one, or not whole, or a learning rate that is not positive and finite.
    """

    lr: float = 5e-3
    decay: float = 0.995
    max_epochs: int = 1000
    patience: int = 20
    loss: Loss = norm_of_difference
    num_batches: int = 5

    def __post_init__(self) -> None:
        check_count(max_epochs=self.max_epochs, patience=self.patience, num_batches=self.num_batches)
        if not 0 < self.lr < math.inf or not 0 < self.decay <= 1:
            raise ConfigError(f"expected a finite lr > 0 and decay in (0, 1], got {self.lr} and {self.decay}")

    def run(self, net: nn.Module, train: Data, val: Data, generator: torch.Generator | None = None) -> int:
        """Train in place, put back the weights of the best epoch, and return the number of epochs.

        Raises:
            NonFiniteError: the validation loss was finite in no epoch.

        Example:
            >>> net, x = nn.Linear(1, 1), torch.linspace(-1, 1, 20)[:, None]
            >>> epochs = Fit(lr=0.1, max_epochs=200).run(net, (x, 3 * x + 1), (x, 3 * x + 1))
            >>> norm_of_difference(net(x), 3 * x + 1).item() < 0.05
            True
        """
        x, y = train
        optimizer = torch.optim.Adam(net.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.decay)
        best, at, kept, epoch = math.inf, 0, copy.deepcopy(net.state_dict()), 0
        for epoch in range(1, self.max_epochs + 1):
            net.train()
            for rows in torch.randperm(len(x), generator=generator).split(math.ceil(len(x) / self.num_batches)):
                optimizer.zero_grad()
                self.loss(net(x[rows]), y[rows]).backward()
                optimizer.step()
            schedule.step()
            error = self.error(net, val)
            if error < best:
                best, at, kept = error, epoch, copy.deepcopy(net.state_dict())
            if epoch - at >= self.patience:
                break
        if not math.isfinite(best):
            raise NonFiniteError(f"the validation loss was finite in none of {epoch} epochs; take a smaller lr than {self.lr}")
        net.load_state_dict(kept)
        return epoch

    def error(self, net: nn.Module, data: Data, rows: int = 64) -> float:
        """The loss on other data, in parts."""
        net.eval()
        with torch.no_grad():
            losses = [self.loss(net(x), y) * len(x) for x, y in zip(data[0].split(rows), data[1].split(rows), strict=True)]
        return float(torch.stack(losses).sum()) / len(data[0])
