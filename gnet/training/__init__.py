"""Training: data modules, the LightningModule, symmetries as rules, checkpoints. Names load their room when first used."""

from importlib import import_module
from typing import Any

_ROOMS = {
    "datamodule": ("Batch", "GraphDataModule", "SeededSampler"),
    "data": ("Digits", "repository_datasets"),
    "files": ("FromFiles",),
    "planted": ("Planted",),
    "planted_traffic": ("PlantedTraffic",),
    "inpainting": ("ImageInpainting",),
    "standardise": ("Scaling", "Standardiser"),
    "module": ("GNetModule",),
    "log_equivariance": ("LogEquivariance",),
    "logged": ("read_equivariance_errors",),
    "relaxation": ("Anneal", "EquivariancePenalty", "GroupAugmentation"),
    "symmetry_metrics": ("EquivarianceErrorMetric", "LayerEquivarianceErrorMetric", "StabiliserMetric"),
    "data_metrics": ("BiasVarianceMetric", "DataErrorMetric", "EnergyShiftMetric", "MomentShiftMetric", "RiskGapMetric"),
    "automatic": ("Automatic",),
    "rules": ("rule_of",),
    "symmetry": ("Automorphism", "Coarsened", "GivenPartition", "Grid", "Symmetric", "Symmetry", "Trivial"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the room of ``name``: ``import gnet.training`` alone loads neither lightning nor scikit-learn."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOM_OF])
