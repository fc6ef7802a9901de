"""Small runs that the tests of training share."""

from typing import Any

from lightning.pytorch import Trainer

from gnet.training.callbacks import BestWeights, StopOnNonFinite
from gnet.training.data import Digits
from gnet.training.module import GNetModule
from gnet.training.symmetry import Coarsened


def small_digits(**settings: Any) -> Digits:
    return Digits(**{"num_train": 20, "num_val": 11, "num_test": 23, **settings})


def small_module(**settings: Any) -> GNetModule:
    return GNetModule(**{"symmetry": Coarsened(4, "patches"), "hidden_channels": 3, **settings})


def quiet_trainer(*callbacks: Any, **settings: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    chosen = list(callbacks) or [StopOnNonFinite(), BestWeights()]
    return Trainer(**{"max_epochs": 2, "accelerator": "cpu", **quiet, **settings}, callbacks=chosen)
