"""Layers and nets."""

from gnet.nn.blocks import Block, NodeBatchNorm
from gnet.nn.gnet import GNet
from gnet.nn.isotypic import IsotypicLinear, isotypic_decomposition
from gnet.nn.linear import EquivariantLinear, InvariantLinear
from gnet.nn.orbit_conv import OrbitConv
from gnet.nn.tensor import TensorLinear

__all__ = [
    "Block",
    "EquivariantLinear",
    "GNet",
    "InvariantLinear",
    "IsotypicLinear",
    "NodeBatchNorm",
    "OrbitConv",
    "TensorLinear",
    "isotypic_decomposition",
]
