"""Equivariant maps from invariant functions, by differentiation."""

from gnet.plugins.covariants.differentiation import (
    CovariantSum,
    EquivariantFromInvariant,
    covariant_generators,
    equivariant_from_invariant,
)
from gnet.plugins.covariants.molien import molien_series, symmetric_characters

__all__ = [
    "CovariantSum",
    "EquivariantFromInvariant",
    "covariant_generators",
    "equivariant_from_invariant",
    "molien_series",
    "symmetric_characters",
]
