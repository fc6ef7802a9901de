"""Tensor images on grids, and every convolution that commutes with translations, turns and mirrors."""

from collections.abc import Callable

from gnet.groups import NodeGroup
from gnet.plugins.geometric_images.calculus import (
    curl,
    curl_filter,
    divergence,
    gradient,
    gradient_filter,
    laplacian,
    laplacian_filter,
)
from gnet.plugins.geometric_images.convolve import correlate
from gnet.plugins.geometric_images.filters import count_filters, count_torus_filters, invariant_filters, torus_filters
from gnet.plugins.geometric_images.gates import ContractGate, Gate, NormGate, Odd, ProductGate, ScalarGate, make_gate
from gnet.plugins.geometric_images.images import GeometricImage
from gnet.plugins.geometric_images.layers import ConvContract
from gnet.plugins.geometric_images.moves import ImageGroup
from gnet.plugins.geometric_images.multi import MultiImage, Signature
from gnet.plugins.geometric_images.net import GINet, PlainCNN, PlainConv
from gnet.plugins.geometric_images.orders import filters_between
from gnet.plugins.geometric_images.plots import plot_image, plot_images
from gnet.plugins.geometric_images.pointwise import levi_civita_symbol
from gnet.plugins.geometric_images.raising import ContractedScalars, OuterConv

CATALOG: dict[str, Callable[[], NodeGroup]] = {
    "ImageGroup(4)": lambda: ImageGroup(4),
    "ImageGroup(5, torus=False)": lambda: ImageGroup(5, torus=False),
    "ImageGroup(2, 3, torus=False)": lambda: ImageGroup(2, 3, torus=False),
}
"""How each group is written -> a function that makes it: what this family adds to ``python -m gnet catalog``."""

__all__ = [
    "CATALOG",
    "ContractGate",
    "ContractedScalars",
    "ConvContract",
    "GINet",
    "Gate",
    "GeometricImage",
    "ImageGroup",
    "MultiImage",
    "NormGate",
    "Odd",
    "OuterConv",
    "PlainCNN",
    "PlainConv",
    "ProductGate",
    "ScalarGate",
    "Signature",
    "correlate",
    "count_filters",
    "count_torus_filters",
    "curl",
    "curl_filter",
    "divergence",
    "filters_between",
    "gradient",
    "gradient_filter",
    "invariant_filters",
    "laplacian",
    "laplacian_filter",
    "levi_civita_symbol",
    "make_gate",
    "plot_image",
    "plot_images",
    "torus_filters",
]
