"""Data modules of the experiments in this repository; README.md here is the table of their data cards."""

from importlib import import_module
from typing import Any

_ROOM_OF = {
    **{"MNIST": "mnist", "FashionMNIST": "fashion", "MetrLA": "metr_la"},
    **{"Mocap": "mocap", "Human36M": "human36m", "KinematicTree": "kinematic"},
}


def __getattr__(name: str) -> Any:
    """Import a data module when it is first asked for."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {sorted(_ROOM_OF)}")
    return getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
