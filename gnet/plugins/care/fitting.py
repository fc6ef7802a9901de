"""One quiet run of Lightning, shared by the experiments."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
from torch import Tensor

from gnet.plugins.care.module import CAREModule, Samples


def train(module: CAREModule, x: Tensor, epochs: int, batch_size: int, seed: int) -> CAREModule:
    """The module after some epochs on samples (num, ...), on the CPU, in evaluation mode.

    Example:
        >>> from gnet.plugins.care import CARELoss, CloudEncoder, GroupAugmentation, chains
        >>> from gnet.plugins.tensors import SO
        >>> module = CAREModule(CloudEncoder(3, 4, (8,), (8,)), GroupAugmentation(SO(3)), CARELoss(chunks=2))
        >>> train(module, chains(16, 8), epochs=1, batch_size=8, seed=0).global_step
        2
    """
    with _quietly():
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        trainer.fit(module, datamodule=Samples(x, batch_size=batch_size, chunks=module.loss.chunks, seed=seed))
    return module.eval()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Lightning's notes on devices and workers, of which a table would print one for each run."""
    names = ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda", "lightning.fabric")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*LeafSpec.*")
            warnings.filterwarnings("ignore", ".*logging interval.*")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
