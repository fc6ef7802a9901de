"""Maps that almost have a symmetry: layers near a group, penalties and augmentation for any module."""

from gnet.nn.relaxed.base import ApproximateLinear, penalty
from gnet.nn.relaxed.chain import ChainGates
from gnet.nn.relaxed.estimated import bootstrap_gates
from gnet.nn.relaxed.low_rank import LowRankBreaking
from gnet.nn.relaxed.mixing import RelaxedMixing
from gnet.nn.relaxed.penalties import equivariance_penalty, linear_penalty
from gnet.nn.relaxed.refinement import Refinement
from gnet.nn.relaxed.residual import ResidualPathway
from gnet.nn.relaxed.soft import SoftClusters
from gnet.nn.relaxed.sums import GroupSum
from gnet.nn.relaxed.symmetric import RelaxedLinear
from gnet.nn.relaxed.two_paths import Relaxed
from gnet.nn.relaxed.wrappers import Augmentation, Augmented, Penalised

__all__ = [
    "ApproximateLinear",
    "Augmentation",
    "Augmented",
    "ChainGates",
    "GroupSum",
    "LowRankBreaking",
    "Penalised",
    "Refinement",
    "Relaxed",
    "RelaxedLinear",
    "RelaxedMixing",
    "ResidualPathway",
    "SoftClusters",
    "bootstrap_gates",
    "equivariance_penalty",
    "linear_penalty",
    "penalty",
]
