"""Measurements on functions and signals: errors of model and data, the nearest equivariant map, bias and variance of a fit."""

from gnet.measures.data import DataError, HeldOutGap, data_error, held_out_risk_gap
from gnet.measures.decomposition import Decomposition, bias_variance, decompose, fitted_bias_variance, residual_gram
from gnet.measures.equivariance import EquivarianceError, equivariance_error, pointwise_errors
from gnet.measures.layers import LayerEquivarianceError, layer_equivariance_errors
from gnet.measures.linear import channel_equivariance_errors, linear_equivariance_error
from gnet.measures.projection import AveragedModule, project
from gnet.measures.shift import EnergyShift, MomentShift, energy_shift, moment_shift
from gnet.measures.stabiliser import ElementErrors, Stabiliser, approximate_stabiliser, model_error, stabiliser_of

__all__ = [
    "AveragedModule",
    "DataError",
    "Decomposition",
    "ElementErrors",
    "EnergyShift",
    "EquivarianceError",
    "HeldOutGap",
    "LayerEquivarianceError",
    "MomentShift",
    "Stabiliser",
    "approximate_stabiliser",
    "bias_variance",
    "channel_equivariance_errors",
    "data_error",
    "decompose",
    "energy_shift",
    "equivariance_error",
    "fitted_bias_variance",
    "held_out_risk_gap",
    "layer_equivariance_errors",
    "linear_equivariance_error",
    "model_error",
    "moment_shift",
    "pointwise_errors",
    "project",
    "residual_gram",
    "stabiliser_of",
]
