"""What an encoder has made of the augmentations: invariant, equivariant, or neither."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gnet.errors import ConfigError
from gnet.nn.modes import evaluating
from gnet.plugins.care.losses import alignment
from gnet.plugins.care.measures import GammaMetric, WahbaMetric
from gnet.plugins.care.views import Augmentation


class EmbeddingSymmetry(NamedTuple):
    """Measured over some augmentations, each shared by all samples.

    Attributes:
        distance: mean distance of the embeddings of a sample and of it moved (L_inv): 0 is invariance, sqrt(2) unrelated.
        wahba: error of the best rotation over sqrt(n), mirrors allowed: 0 is exact equivariance, of which invariance is a case.
        gamma: relative equivariance: small is equivariance that is not invariance; NaN is exact invariance.
    """

    distance: float
    wahba: float
    gamma: float


def measure_symmetry(
    embed: Callable[[Tensor], Tensor],
    x: Tensor,
    augmentation: Augmentation,
    num_elements: int = 20,
    generator: torch.Generator | None = None,
) -> EmbeddingSymmetry:
    """Compare unit embeddings of samples with those of the samples moved, for each of some augmentations.

    Args:
        embed: from samples (n, ...) to unit rows (n, D); a module runs in evaluation.
        x: (n, ...), two samples or more.
        augmentation: what is drawn and applied.
        num_elements: augmentations.
        generator: of what is drawn.

    Raises:
        ConfigError: num_elements < 1.
        ShapeError, DegenerateInputError: embeddings that are no unit rows.

    References:
        Gupta et al. (2024), arXiv:2306.13924, section 4.

    Example:
        >>> from gnet.plugins.care import GroupAugmentation
        >>> from gnet.plugins.tensors import SO
        >>> first = lambda x: torch.nn.functional.normalize(x[:, 0], dim=-1)
        >>> found = measure_symmetry(first, torch.randn(20, 4, 3, dtype=torch.float64), GroupAugmentation(SO(3)))
        >>> found.distance > 0.5, found.wahba < 1e-12, found.gamma < 1e-12
        (True, True, True)
    """
    if num_elements < 1:
        raise ConfigError(f"expected num_elements >= 1, got {num_elements}")
    wahbas, gammas, distances = WahbaMetric(special=False), GammaMetric(), []
    with evaluating(embed):
        still = embed(x)
        for drawn in augmentation.sample(num_elements, generator):
            moved = embed(augmentation.apply(drawn[None], x[None])[0])
            distances.append(float(alignment(still, moved)))
            wahbas.update(still, moved)
            gammas.update(still, moved)
    return EmbeddingSymmetry(sum(distances) / num_elements, float(wahbas.compute()), float(gammas.compute()))
