"""What each of several processes reads: its share of every batch, so that all together see the batches of one process."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from gnet.errors import ConfigError


class ShareOfBatches(DistributedSampler):
    """The samples of each batch of a single process, cut into as many consecutive shares as there are processes: this one's.

    Shares differ by one sample at most, and may be empty where a batch has fewer samples than there are processes: no sample is
    left out or counted twice, and every process takes the same number of steps. Lightning leaves a sampler of this base alone.

    Args:
        num_samples: of the split.
        batch_size: of all processes together.
        order: a sampler with ``set_epoch``, such as ``SeededSampler``; None is the order of the split.
        process: the number of this one.
        num_processes: how many there are.

    Example:
        >>> [[share.tolist() for share in ShareOfBatches(7, 3, None, process, 2)] for process in (0, 1)]
        [[[0, 1], [3, 4], [6]], [[2], [5], []]]
    """

    def __init__(self, num_samples: int, batch_size: int, order: Any, process: int, num_processes: int) -> None:
        # Nothing of the base but its name: that one pads the split, and would ask for the process group.
        self.num_samples, self.batch_size, self.order = num_samples, batch_size, order
        self.process, self.num_processes = process, num_processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch, the same in every process."""
        if self.order is not None:
            self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[Tensor]:
        samples = torch.arange(self.num_samples) if self.order is None else torch.tensor(list(self.order), dtype=torch.long)
        for batch in samples.split(self.batch_size):
            yield batch.tensor_split(self.num_processes)[self.process]

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)


def processes_of(trainer: Any) -> tuple[int, int]:
    """The number of this process, and how many a trainer trains with; (0, 1) without a trainer.

    Raises:
        ConfigError: ``overfit_batches`` with several, for which Lightning makes samplers of its own.

    Example:
        >>> processes_of(None)
        (0, 1)
    """
    world = 1 if trainer is None else int(trainer.world_size)
    if world > 1 and trainer.overfit_batches:
        raise ConfigError("--trainer.overfit_batches goes with one process; leave it out, or set --trainer.devices 1")
    return (int(trainer.global_rank), world) if world > 1 else (0, 1)
