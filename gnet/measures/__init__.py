"""Measurements on functions and signals: how far from equivariant, and the nearest equivariant one."""

from gnet.measures.equivariance import EquivarianceError, equivariance_error, linear_equivariance_error
from gnet.measures.projection import AveragedModule, project

__all__ = ["AveragedModule", "EquivarianceError", "equivariance_error", "linear_equivariance_error", "project"]
