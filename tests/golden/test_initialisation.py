"""Check B.2-B.4 of the theory: how layers start, and the parameter counts of H.1.

Source of every number: the block "Check B.2-B.4" and section H.1. Variances are estimated from many output channels, so that a
band of 5 standard errors is about one per cent; the theory's value is what they are compared with.
"""

import math

import pytest
import torch
from torch import Tensor

from datasets.skeleton import HUMAN36M_16
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, TrivialGroup, automorphism_group
from gnet.isotypic import isotypic_decomposition
from gnet.nn import EquivariantLinear, GNet, InvariantLinear
from gnet.nn.relaxed import RelaxedLinear
from tests.golden.fixtures import SIZES_321, clusters_of_sizes, flips, patches
from tests.laws.cases import GROUPS

IN, OUT = 4, 10_000


def start(group: NodeGroup, rng: torch.Generator, channels: tuple[int, int] = (IN, OUT), **options: object) -> Tensor:
    """The dense weight of a fresh layer with many output channels, (N, C', N, C)."""
    return EquivariantLinear(group, *channels, bias=None, generator=rng, **options).dense().detach().double()


def output_variances(dense: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Variance of each node's output over the weights, for inputs with that covariance of nodes; and its standard error."""
    per_channel = torch.einsum("nomi,mk,noki->no", dense, covariance, dense)
    return per_channel.mean(1), per_channel.std(1) / math.sqrt(per_channel.shape[1])


def pooled(dense: Tensor) -> tuple[Tensor, Tensor]:
    """A of clusters 0 and 1, (2, C', C), and B, (3, 3, C', C), of sizes [3, 2, 1]."""
    w = dense.permute(0, 2, 1, 3)
    between = w[[0, 3, 5]][:, [2, 4, 5]] * SIZES_321.sizes[:, None, None]
    own = torch.stack([w[0, 0] - w[0, 2], w[3, 3] - w[3, 4]])
    return own, between


def test_white_start_of_the_fixture(rng):
    """s_A = 0.353553 (clusters 0, 1); s_B rows 0, 1 (0.353553, 0.288675, 0.204124), row 2 (0.5, 0.408248, 0.288675)."""
    own, between = pooled(start(ClusterGroup(SIZES_321), rng))
    torch.testing.assert_close(own.std((1, 2)), torch.full((2,), 0.353553).double(), rtol=0.02, atol=0)
    rows = [[0.353553, 0.288675, 0.204124], [0.353553, 0.288675, 0.204124], [0.5, 0.408248, 0.288675]]
    torch.testing.assert_close(between.std((2, 3)), torch.tensor(rows).double(), rtol=0.02, atol=0)
    assert float(own.mean().abs()) < 0.01
    assert float(between.mean((2, 3)).abs().max()) < 0.02


@pytest.mark.parametrize("name", GROUPS)
def test_white_inputs_give_unit_variance(name, rng):
    group = GROUPS[name]
    variance, error = output_variances(start(group, rng, (2, 4000)), torch.eye(group.degree, dtype=torch.float64))
    assert bool(((variance - 1).abs() < 5.5 * error).all())


POSE_STARTS = {
    "S16": lambda **options: EquivariantLinear(SymmetricGroup(16), **options),
    "relaxed S16": lambda **options: RelaxedLinear(16, by="sender", **options),
    "(S2)^2": lambda **options: EquivariantLinear(automorphism_group(HUMAN36M_16.graph()), **options),
    "trivial": lambda **options: EquivariantLinear(TrivialGroup(16), **options),
}


@pytest.mark.parametrize("name", POSE_STARTS)
def test_the_start_of_the_pose_nets_is_uniform_up_to_one_over_the_root_of_the_fan_in(name, rng):
    """H.3: entries of the map in (-1, 1) / sqrt(16 d), of S16 off the diagonal too; white inputs leave with variance 1/3."""
    layer = POSE_STARTS[name](in_channels=8, out_channels=512, bias=None, init="fan_in", generator=rng)
    dense, bound = layer.dense().detach(), 1 / math.sqrt(16 * 8)

    def within(share: float) -> float:
        return float((dense.abs() <= share * bound).double().mean())

    assert within(1.0) == 1.0
    assert within(0.99) < 1.0
    for share in (0.25, 0.5, 0.75):
        assert within(share) == pytest.approx(share, abs=0.06)
    variance, error = output_variances(dense.double(), torch.eye(16, dtype=torch.float64))
    assert bool(((variance - 1 / 3).abs() < 5.5 * error).all())


def test_isotypic_blocks_of_the_published_start_give_outputs_of_the_same_variance(rng):
    """Of (S2)^2 they have 10, 3 and 3 rows, uniform in (-1, 1) / sqrt(rows d): another distribution than ours, one variance."""
    assert isotypic_decomposition(automorphism_group(HUMAN36M_16.graph())).multiplicities == (10, 3, 3)
    for rows in (10, 3):
        weight = (2 * torch.rand(4000, 8 * rows, generator=rng).double() - 1) / math.sqrt(8 * rows)
        assert float(weight.square().sum(1).mean()) == pytest.approx(1 / 3, rel=0.02)


def test_gain_scales_the_variance(rng):
    group = ClusterGroup(SIZES_321)
    variance, error = output_variances(start(group, rng, gain=2.0), torch.eye(6, dtype=torch.float64))
    assert bool(((variance - 2).abs() < 5.5 * error).all())


def cluster_covariance(group: NodeGroup, rho: float) -> Tensor:
    labels = group.partition.labels if isinstance(group, ClusterGroup) else group.node_orbits().labels
    together = (labels[:, None] == labels[None, :]).double()
    return rho * together + (1 - rho) * torch.eye(group.degree, dtype=torch.float64)


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0])
def test_correlated_inputs_give_unit_variance_with_the_correlated_start(rho, rng):
    group = ClusterGroup(clusters_of_sizes(5, 3, 2, 1))
    dense = start(group, rng, init="correlated", rho=rho)
    variance, error = output_variances(dense, cluster_covariance(group, rho))
    assert bool(((variance - 1).abs() < 5.5 * error).all())


def test_white_start_inflates_constant_signals():
    """alpha + (1 - alpha) N / k on constant signals: B.4 says why images want the correlated start."""
    rng = torch.Generator().manual_seed(0)
    group = ClusterGroup(clusters_of_sizes(4, 4, 4))
    variance, error = output_variances(start(group, rng), torch.ones(12, 12, dtype=torch.float64))
    assert bool(((variance - (0.5 + 0.5 * 12 / 3)).abs() < 5.5 * error).all())


def test_reference_start_has_the_published_variance(rng):
    """d / (3 d') (1 + 1/N), the pooled path contributing the 1/N; here d = 1 and N = 6, with unequal clusters."""
    for parametrization in ("canonical", "reference"):
        dense = start(ClusterGroup(SIZES_321), rng, (1, OUT), init="reference", parametrization=parametrization)
        variance, error = output_variances(dense, torch.eye(6, dtype=torch.float64))
        expected = (1 + 1 / 6) / (3 * OUT)
        assert bool(((variance - expected).abs() < 5.5 * error).all())


def test_reference_start_of_the_published_net(rng):
    """d = 1, d' = 28, N = 784: 0.01191995, over 40 layers on 4 x 4 patches."""
    assert pytest.approx(0.01191995, abs=5e-9) == (1 + 1 / 784) / (3 * 28)
    group, options = ClusterGroup(patches(28, 4)), {"parametrization": "reference", "init": "reference", "bias": None}
    squares = []
    for _ in range(40):
        reference = EquivariantLinear(group, 1, 28, generator=rng, **options).to_reference_params()
        assert float(reference["w_diag"].abs().max()) <= 1 / math.sqrt(28)
        assert float(reference["w_off"].abs().max()) <= 1 / math.sqrt(28)
        w, v = reference["w_diag"].double(), reference["w_off"].double() / 784  # (28, 16), (28, 16, 16)
        own = v.diagonal(dim1=1, dim2=2)
        squares.append((w**2 + 2 * w * own + 49 * (v**2).sum(-1)).flatten())
    values = torch.cat(squares)
    assert abs(float(values.mean()) - 0.01191995) < 5.5 * float(values.std()) / math.sqrt(len(values))


def test_invariant_layers_start_with_unit_variance(rng):
    dense = InvariantLinear(ClusterGroup(SIZES_321), IN, 20_000, generator=rng).dense().detach().double()
    per_channel = dense.square().sum((1, 2))
    assert abs(float(per_channel.mean()) - 1) < 5.5 * float(per_channel.std()) / math.sqrt(len(per_channel))


@pytest.mark.parametrize("init", ["white", "correlated"])
def test_biases_start_at_zero(init, rng):
    bias = EquivariantLinear(ClusterGroup(SIZES_321), 2, 3, init=init, generator=rng).bias
    assert torch.equal(bias, torch.zeros(3, 3))


def test_reference_biases_start_uniform(rng):
    bias = EquivariantLinear(ClusterGroup(SIZES_321), 2, 4000, init="reference", bias="shared", generator=rng).bias.detach()
    bound = 1 / math.sqrt(4000)
    assert bias.shape == (1, 4000)
    assert float(bias.abs().max()) <= bound
    assert float(bias.double().square().mean()) == pytest.approx(bound**2 / 3, rel=0.1)


H1_COUNTS = {1: 141, 2: 1149, 4: 15_261, 7: 137_229, 14: 2_162_301, 28: 34_464_669}


@pytest.mark.parametrize("count", H1_COUNTS)
def test_published_parameter_counts(count):
    """H.1: 1 -> 28 -> 1, reference parametrisation, one bias per channel: 2 * 28 (k + k^2) + 28 + 1."""
    group, k = ClusterGroup(patches(28, count)), count * count
    assert 2 * 28 * (k + k * k) + 29 == H1_COUNTS[count]
    if count == 28:
        layer = EquivariantLinear(TrivialGroup(784), 1, 1, parametrization="reference", bias="shared")  # 28 channels: 138 MB
        assert layer.num_parameters == k + k * k + 1
        return
    net = GNet(group, 1, 28, 1, parametrization="reference", bias="shared")
    assert net.num_parameters == H1_COUNTS[count]


@pytest.mark.parametrize(("count", "expected"), [(2, 589), (14, 1_081_165), (28, 17_232_349)])
def test_published_parameter_counts_with_the_flip(count, expected):
    """H.1: each half of the untied weights, k / 2 + k^2 / 2 per channel pair. gnet drops the k / 2 redundant of singletons."""
    group, k = ClusterGroup(patches(28, count), swaps=flips(count, "h")), count * count
    weights = EquivariantLinear(group, 1, 1).num_weights
    redundant = k // 2 if count == 28 else 0
    assert 2 * 28 * (weights + redundant) + 29 == expected


def test_canonical_counts_of_the_published_net():
    """dim Hom of the six groups (B.1) times 2 * 28, and a bias for each cluster."""
    for count, dim in {1: 2, 2: 20, 4: 272, 7: 2450}.items():
        net = GNet(ClusterGroup(patches(28, count)), 1, 28, 1)
        assert net.num_weights == 2 * 28 * dim
        assert net.num_parameters == 2 * 28 * dim + 29 * count * count


def test_starts_replay_from_their_generator():
    group = GROUPS["tied"]
    first, again, other = (
        EquivariantLinear(group, 2, 3, generator=torch.Generator().manual_seed(seed)).dense() for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_tying_keeps_unit_variance_for_white_inputs_only(rng):
    """B.4: tied pairs of one row add the covariance of their cluster means, which vanishes for white inputs."""
    group = ClusterGroup(clusters_of_sizes(2, 2, 2), swaps=PermutationGroup([[1, 0, 2], [1, 2, 0]]))
    dense = start(group, rng)
    white, error = output_variances(dense, torch.eye(6, dtype=torch.float64))
    assert bool(((white - 1).abs() < 5.5 * error).all())
    constant, error = output_variances(dense, torch.ones(6, 6, dtype=torch.float64))
    expected = 0.5 + 0.5 * 2 / 3 * (1 + (1 + 1) ** 2)  # B_01 and B_02 are one weight
    assert bool(((constant - expected).abs() < 5.5 * error).all())
