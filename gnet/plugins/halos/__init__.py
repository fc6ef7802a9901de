"""Properties of galaxies from the dark matter around them: moments of particles in radial bins, and their scalars."""

from gnet.plugins.halos.catalogue import read_halos
from gnet.plugins.halos.data import Halos, nfw_radii, synthetic_halos
from gnet.plugins.halos.features import GeometricFeatures, geometric_features, halo_scalars
from gnet.plugins.halos.regression import GalaxyModule, HaloTable, Perceptron, half_width, ridge_pipeline

__all__ = [
    "GalaxyModule",
    "GeometricFeatures",
    "HaloTable",
    "Halos",
    "Perceptron",
    "geometric_features",
    "half_width",
    "halo_scalars",
    "nfw_radii",
    "read_halos",
    "ridge_pipeline",
    "synthetic_halos",
]
