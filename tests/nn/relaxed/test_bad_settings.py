"""Settings that would give NaN, or an error of somebody else's, are refused where the layer is made."""

import math

import pytest
import torch

from gnet.errors import ConfigError
from gnet.groups import SymmetricGroup
from gnet.nn.relaxed import ChainGates, LowRankBreaking, Penalised, RelaxedMixing, ResidualPathway, SoftClusters

GROUP = SymmetricGroup(4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SoftClusters(4, 2, 1, 1, bias="orbits"), "bias"),
        (lambda: SoftClusters(4, 2.0, 1, 1), "expected num_clusters as a whole number, got 2.0"),
        (lambda: SoftClusters(4, 2, 1, 1, logits=torch.full((4, 2), math.nan)), "expected finite logits"),
        (lambda: SoftClusters(4, 2, 1, 1, temperature=math.inf), "temperature > 0, got inf; it must be finite"),
        (lambda: RelaxedMixing(GROUP, 1, 1, alpha=math.inf), "alpha >= 0 and finite, got inf"),
        (lambda: ResidualPathway(GROUP, 1, 1, scale=math.inf), "scale >= 0 and finite, got inf"),
        (lambda: LowRankBreaking(GROUP, 1, 1, weight_decay=math.inf), "weight_decay >= 0 and finite, got inf"),
        (lambda: ChainGates(GROUP, 1, 1, l1=math.inf), "l1 >= 0 and finite, got inf"),
        (lambda: Penalised(torch.nn.Identity(), GROUP, weight=math.nan), "weight >= 0, got nan"),
    ],
)
def test_they_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
