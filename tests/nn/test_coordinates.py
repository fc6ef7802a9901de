"""What is trained of a cluster group's map: the published layout and back, entries, and what a step of Adam moves."""

import pytest
import torch
from torch import Tensor

from gnet.groups import ClusterGroup, TrivialGroup
from gnet.nn import EquivariantLinear
from gnet.testing import enumerate_elements
from tests.laws.cases import CLUSTER_GROUPS, TIED_GROUPS
from tests.nn.filled import GROUP, filled


@pytest.fixture(params=CLUSTER_GROUPS | TIED_GROUPS)
def cluster_group(request: pytest.FixtureRequest) -> ClusterGroup:
    return (CLUSTER_GROUPS | TIED_GROUPS)[request.param]


def published_map(w_diag: Tensor, w_off: Tensor, labels: Tensor, channels: tuple[int, int]) -> Tensor:
    """B.3 written out: W_ij = w_diag[a(i)] [i = j] + w_off[a(i), a(j)] / N, flat index out-major; (N, C', N, C)."""
    out_channels, in_channels = channels
    num_nodes, k = len(labels), w_diag.shape[1]
    diag = w_diag.reshape(out_channels, in_channels, k)[..., labels]  # (C', C, N)
    off = w_off.reshape(out_channels, in_channels, k, k)[:, :, labels][..., labels]  # (C', C, N, N)
    eye = torch.eye(num_nodes, dtype=w_diag.dtype)
    return torch.einsum("qpi,ij->iqjp", diag, eye) + torch.einsum("qpij->iqjp", off) / num_nodes


@pytest.mark.parametrize("parametrization", ["canonical", "orbits", "reference"])
def test_reads_the_published_layout(cluster_group, parametrization, rng):
    k = cluster_group.partition.num_clusters
    w_diag = torch.randn(3 * 2, k, dtype=torch.float64, generator=rng)
    w_off = torch.randn(3 * 2, k, k, dtype=torch.float64, generator=rng)
    if cluster_group.swaps is not None:
        elements = enumerate_elements(cluster_group.swaps)
        w_diag, w_off = w_diag[:, elements].mean(1), w_off[:, elements[:, :, None], elements[:, None]].mean(1)
    b = torch.randn(3, dtype=torch.float64, generator=rng)
    layer = EquivariantLinear(cluster_group, 2, 3, parametrization=parametrization, bias="shared").double()
    assert layer.from_reference_params(w_diag, w_off, b) is layer
    torch.testing.assert_close(layer.dense(), published_map(w_diag, w_off, cluster_group.partition.labels, (3, 2)))
    torch.testing.assert_close(layer.dense_bias(), b.expand(cluster_group.degree, 3))


@pytest.mark.parametrize("parametrization", ["canonical", "orbits", "reference"])
def test_writes_the_published_layout(cluster_group, parametrization, rng):
    layer = filled(EquivariantLinear(cluster_group, 2, 3, parametrization=parametrization), rng)
    reference = layer.to_reference_params()
    k = cluster_group.partition.num_clusters
    assert [tuple(reference[name].shape) for name in ("w_diag", "w_off", "b")] == [(6, k), (6, k, k), (k, 3)]
    written = published_map(reference["w_diag"], reference["w_off"], cluster_group.partition.labels, (3, 2))
    torch.testing.assert_close(layer.dense(), written)


def test_canonical_to_reference_to_canonical_round_trips(cluster_group, rng):
    layer = filled(EquivariantLinear(cluster_group, 2, 3), rng)
    again = EquivariantLinear(cluster_group, 2, 3).double().from_reference_params(**layer.to_reference_params())
    for (name, p), (_, q) in zip(layer.named_parameters(), again.named_parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=name)


def test_reference_to_canonical_to_reference_keeps_the_map(cluster_group, rng):
    layer = filled(EquivariantLinear(cluster_group, 2, 3, parametrization="reference"), rng)
    canonical = EquivariantLinear(cluster_group, 2, 3).double().from_reference_params(**layer.to_reference_params())
    again = EquivariantLinear(cluster_group, 2, 3, parametrization="reference").double()
    again.from_reference_params(**canonical.to_reference_params())
    x = torch.randn(4, cluster_group.degree, 2, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(canonical(x), layer(x))
    torch.testing.assert_close(again(x), layer(x))


def test_singletons_have_no_diagonal_in_the_published_layout_of_a_canonical_layer(rng):
    reference = filled(EquivariantLinear(GROUP, 2, 3), rng).to_reference_params()
    assert torch.equal(reference["w_diag"][:, 2], torch.zeros(6, dtype=torch.float64))
    assert bool((reference["w_diag"][:, :2] != 0).all())


def test_round_trips_without_bias(rng):
    layer = filled(EquivariantLinear(GROUP, 2, 3, bias=None), rng)
    again = EquivariantLinear(GROUP, 2, 3, bias=None).double().from_reference_params(**layer.to_reference_params())
    torch.testing.assert_close(again.dense(), layer.dense())


def test_reference_parametrisation_holds_one_weight_too_many_for_each_singleton():
    layer = EquivariantLinear(GROUP, 2, 3, parametrization="reference", bias=None)
    assert layer.num_parameters == layer.num_weights + 2 * 3
    trivial = EquivariantLinear(TrivialGroup(4), 1, 1, parametrization="reference", bias=None)
    assert trivial.num_parameters == 4 + 16
    assert trivial.num_weights == 16


def test_one_adam_step_moves_the_reference_weights_by_lr_over_n():
    """B.3: an Adam step of size lr moves an entry of W between clusters by lr / N."""
    layer = EquivariantLinear(GROUP, 1, 1, parametrization="reference").double()
    before = layer.dense().detach()[:, 0, :, 0].clone()
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.01, eps=1e-30)
    layer(torch.randn(8, 6, 1, dtype=torch.float64)).square().sum().backward()
    optimiser.step()
    moved = (layer.dense().detach()[:, 0, :, 0] - before).abs()
    between = GROUP.partition.labels[:, None] != GROUP.partition.labels[None, :]
    torch.testing.assert_close(moved[between], torch.full_like(moved[between], 0.01 / 6))


def test_one_adam_step_moves_every_entry_by_lr_in_the_coordinates_of_orbits(cluster_group):
    """The liar: canonical coordinates move what a cluster of n nodes sends by lr / n."""

    def moved(parametrization: str) -> Tensor:
        layer = EquivariantLinear(cluster_group, 1, 1, parametrization=parametrization, bias=None).double()
        before = layer.dense().detach().clone()
        x = torch.randn(8, cluster_group.degree, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        optimiser = torch.optim.Adam(layer.parameters(), lr=0.01, eps=1e-30)
        layer(x).square().sum().backward()
        optimiser.step()
        return (layer.dense().detach() - before).abs()

    step = torch.full_like(moved("orbits"), 0.01)
    torch.testing.assert_close(moved("orbits"), step)
    if cluster_group.partition.sizes.max() > 1:
        assert not torch.allclose(moved("canonical"), step)


@pytest.mark.parametrize("init", ["white", "correlated", "reference", "fan_in"])
def test_all_coordinates_start_from_one_map(cluster_group, init):
    made = [
        EquivariantLinear(cluster_group, 2, 3, parametrization=each, init=init, generator=torch.Generator().manual_seed(1))
        for each in ("canonical", "orbits")
    ]
    torch.testing.assert_close(made[1].dense(), made[0].dense())
    assert made[1].num_parameters == made[0].num_parameters
