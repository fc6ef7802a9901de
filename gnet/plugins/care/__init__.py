"""Contrastive learning whose embeddings turn with augmentations: CARE's losses, measures and training."""

from gnet.plugins.care.clouds import Probe, Ridge, axis_entries, chains, principal_axis, probe_axis, turned, with_products
from gnet.plugins.care.evaluate import EmbeddingSymmetry, measure_symmetry
from gnet.plugins.care.losses import CARELoss, alignment, care_equivariance, info_nce, info_nce_parts, uniformity
from gnet.plugins.care.measures import GammaMetric, UniformityMetric, Wahba, WahbaMetric, gamma, wahba
from gnet.plugins.care.models import CloudEncoder, ImageEncoder
from gnet.plugins.care.retrieval import axis_angles, nearest
from gnet.plugins.care.views import Augmentation, GroupAugmentation, ImageAugmentation, Views

__all__ = [
    "Augmentation",
    "CARELoss",
    "CloudEncoder",
    "EmbeddingSymmetry",
    "GammaMetric",
    "GroupAugmentation",
    "ImageAugmentation",
    "ImageEncoder",
    "Probe",
    "Ridge",
    "UniformityMetric",
    "Views",
    "Wahba",
    "WahbaMetric",
    "alignment",
    "axis_angles",
    "axis_entries",
    "care_equivariance",
    "chains",
    "gamma",
    "info_nce",
    "info_nce_parts",
    "measure_symmetry",
    "nearest",
    "principal_axis",
    "probe_axis",
    "turned",
    "uniformity",
    "wahba",
    "with_products",
]
