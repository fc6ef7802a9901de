"""Layers and nets."""

from gnet.isotypic import isotypic_decomposition
from gnet.nn.blocks import Block, NodeBatchNorm
from gnet.nn.gnet import GNet
from gnet.nn.isotypic import IsotypicLinear
from gnet.nn.linear import EquivariantLinear, InvariantLinear
from gnet.nn.orbit_conv import OrbitConv
from gnet.nn.propagate import PointwiseLinear, Propagate
from gnet.nn.recurrent import GNetGRU
from gnet.nn.relaxed import (
    ApproximateLinear,
    Augmentation,
    Augmented,
    ChainGates,
    GroupSum,
    LowRankBreaking,
    Penalised,
    Refinement,
    Relaxed,
    RelaxedLinear,
    RelaxedMixing,
    ResidualPathway,
    SoftClusters,
    equivariance_penalty,
    linear_penalty,
    penalty,
)
from gnet.nn.tensor import TensorLinear

__all__ = [
    "ApproximateLinear",
    "Augmentation",
    "Augmented",
    "Block",
    "ChainGates",
    "EquivariantLinear",
    "GNet",
    "GNetGRU",
    "GroupSum",
    "InvariantLinear",
    "IsotypicLinear",
    "LowRankBreaking",
    "NodeBatchNorm",
    "OrbitConv",
    "Penalised",
    "PointwiseLinear",
    "Propagate",
    "Refinement",
    "Relaxed",
    "RelaxedLinear",
    "RelaxedMixing",
    "ResidualPathway",
    "SoftClusters",
    "TensorLinear",
    "equivariance_penalty",
    "isotypic_decomposition",
    "linear_penalty",
    "penalty",
]
