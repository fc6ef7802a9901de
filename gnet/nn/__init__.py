"""Layers and nets."""

from gnet.nn.blocks import Block, NodeBatchNorm
from gnet.nn.gnet import GNet
from gnet.nn.isotypic import IsotypicLinear, isotypic_decomposition
from gnet.nn.linear import EquivariantLinear, InvariantLinear
from gnet.nn.orbit_conv import OrbitConv

__all__ = [
    "Block",
    "EquivariantLinear",
    "GNet",
    "InvariantLinear",
    "IsotypicLinear",
    "NodeBatchNorm",
    "OrbitConv",
    "isotypic_decomposition",
]
