"""One quiet run of Lightning, shared by the experiments."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import lightning.pytorch as pl
from torch.utils.data import DataLoader

Module = TypeVar("Module", bound=pl.LightningModule)


def fit(module: Module, batches: Iterable[Any], epochs: int, val: Iterable[Any] | None = None) -> Module:
    """The module after some epochs over the batches, on the CPU, in evaluation mode.

    Args:
        batches: a list of whole batches, or a loader.
        val: of validation, where the module has some.

    Example:
        >>> import torch
        >>> from gnet.plugins.point_clouds import CloudDeepSet, CloudPairs, DistanceModule
        >>> f = CloudDeepSet(4, 2)
        >>> clouds = f.invariants(torch.randn(3, 9, 3))
        >>> fit(DistanceModule(f, 2), [CloudPairs(clouds, clouds, torch.zeros(3, 3))], epochs=2).global_step
        2
    """
    loaders = [DataLoader(cast(Any, each), batch_size=None) if isinstance(each, list) else each for each in (batches, val or [])]
    with _quietly():
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, loaders[0], loaders[1] if val else None)
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
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
