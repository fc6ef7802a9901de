"""Layers and nets."""

from gnet.isotypic import isotypic_decomposition
from gnet.nn.blocks import Block, NodeBatchNorm
from gnet.nn.gnet import GNet
from gnet.nn.isotypic import IsotypicLinear
from gnet.nn.linear import EquivariantLinear, InvariantLinear
from gnet.nn.orbit_conv import OrbitConv
from gnet.nn.propagate import PointwiseLinear, Propagate
from gnet.nn.recurrent import GNetGRU
from gnet.nn.relaxed import RelaxedLinear
from gnet.nn.tensor import TensorLinear

__all__ = [
    "Block",
    "EquivariantLinear",
    "GNet",
    "GNetGRU",
    "InvariantLinear",
    "IsotypicLinear",
    "NodeBatchNorm",
    "OrbitConv",
    "PointwiseLinear",
    "Propagate",
    "RelaxedLinear",
    "TensorLinear",
    "isotypic_decomposition",
]
