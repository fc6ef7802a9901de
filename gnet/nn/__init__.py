"""Layers and nets."""

from gnet.nn.blocks import Block, NodeBatchNorm
from gnet.nn.gnet import GNet
from gnet.nn.linear import EquivariantLinear, InvariantLinear

__all__ = ["Block", "EquivariantLinear", "GNet", "InvariantLinear", "NodeBatchNorm"]
