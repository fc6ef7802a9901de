"""Linear layers: shapes, counts, biases, dense forms, and what a bad input gets."""

import copy
import pickle

import pytest
import torch

from gnet.errors import ConfigError, ShapeError
from gnet.graphs.coarsen import grid_patches
from gnet.groups import ClusterGroup, NodeGroup, PermutationGroup, SymmetricGroup, grid_group
from gnet.measures import project
from gnet.nn import EquivariantLinear, GNet, InvariantLinear
from tests.laws.cases import CLUSTER_GROUPS, GENERATOR_GROUPS, GROUPS, TIED_GROUPS
from tests.nn.filled import GROUP, filled


@pytest.fixture(params=GROUPS)
def group(request: pytest.FixtureRequest) -> NodeGroup:
    return GROUPS[request.param]


@pytest.fixture(params=CLUSTER_GROUPS | TIED_GROUPS)
def cluster_group(request: pytest.FixtureRequest) -> ClusterGroup:
    return (CLUSTER_GROUPS | TIED_GROUPS)[request.param]


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (EquivariantLinear(GROUP, 2, 5), "EquivariantLinear(2 -> 5 | S2 x S3 x S1 | 11 weights per channel pair)"),
        (EquivariantLinear(SymmetricGroup(4), 1, 1), "EquivariantLinear(1 -> 1 | S4 | 2 weights per channel pair)"),
        (
            EquivariantLinear(TIED_GROUPS["tied"], 3, 2),
            "EquivariantLinear(3 -> 2 | (S2 x S3 x S2 x S1 x S3) x| H | 15 weights per channel pair)",
        ),
        (
            EquivariantLinear(GENERATOR_GROUPS["hexagon"], 1, 2),
            "EquivariantLinear(1 -> 2 | <2 generators on 7 nodes> | 7 weights per channel pair)",
        ),
        (InvariantLinear(GROUP, 2, 5), "InvariantLinear(2 -> 5 | S2 x S3 x S1 | 3 weights per channel pair)"),
        (InvariantLinear(SymmetricGroup(4), 3, 2), "InvariantLinear(3 -> 2 | S4 | 1 weight per channel pair)"),
    ],
)
def test_repr_prints_the_mathematics(layer, text):
    assert repr(layer) == text


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (2, 1, 3), (0,)], ids=str)
def test_any_batch_axes(group, batch, rng):
    x = torch.randn(*batch, group.degree, 2, generator=rng)
    assert EquivariantLinear(group, 2, 3)(x).shape == (*batch, group.degree, 3)
    assert InvariantLinear(group, 2, 3)(x).shape == (*batch, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_layer(group, dtype, rng):
    x = torch.randn(4, group.degree, 2, generator=rng, dtype=dtype)
    layer = EquivariantLinear(group, 2, 3, generator=rng).to(dtype)
    assert layer(x).dtype == layer.dense().dtype == layer.dense_bias().dtype == dtype
    explicit = torch.einsum("nomi,bmi->bno", layer.dense(), x) + layer.dense_bias()
    torch.testing.assert_close(layer(x), explicit)
    assert InvariantLinear(group, 2, 3).to(dtype)(x).dtype == dtype


@pytest.mark.parametrize("bias", ["orbit", "shared", None])
def test_output_is_the_dense_map_and_its_bias(group, bias, rng):
    layer = filled(EquivariantLinear(group, 2, 3, bias=bias), rng)
    x = torch.randn(4, group.degree, 2, dtype=torch.float64, generator=rng)
    offset = 0 if bias is None else layer.dense_bias()
    torch.testing.assert_close(layer(x), torch.einsum("nomi,bmi->bno", layer.dense(), x) + offset)
    assert (layer.dense_bias() is None) == (bias is None)


def test_axes_of_dense_are_receiver_and_output_first(rng):
    assert EquivariantLinear(GROUP, 2, 5).dense().shape == (6, 5, 6, 2)
    assert InvariantLinear(GROUP, 2, 5).dense().shape == (5, 6, 2)


def test_invariant_output_is_the_dense_map(group, rng):
    layer = InvariantLinear(group, 2, 3, generator=rng).double()
    x = torch.randn(4, group.degree, 2, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(layer(x), torch.einsum("omi,bmi->bo", layer.dense(), x))
    assert torch.equal(InvariantLinear(group, 2, 3).bias, torch.zeros(3))
    assert InvariantLinear(group, 2, 3, bias=False).bias is None


def test_there_is_one_bias_vector_for_each_node_orbit(group):
    orbits = group.node_orbits().num_clusters
    assert EquivariantLinear(group, 2, 3).bias.shape == (orbits, 3)
    assert EquivariantLinear(group, 2, 3, bias="shared").bias.shape == (1, 3)
    assert EquivariantLinear(group, 2, 3, bias=None).bias is None


def test_orbit_bias_reaches_every_equivariant_bias(group, rng):
    layer = filled(EquivariantLinear(group, 1, 2), rng)
    bias = layer.dense_bias().detach()
    torch.testing.assert_close(project(bias, group, output="invariant"), bias)
    assert len(torch.unique(bias, dim=0)) == group.node_orbits().num_clusters


def test_shared_bias_is_the_same_on_all_nodes(group, rng):
    bias = filled(EquivariantLinear(group, 1, 2, bias="shared"), rng).dense_bias()
    assert torch.equal(bias, bias[:1].expand_as(bias))


@pytest.mark.parametrize("parametrization", ["canonical", "orbits", "reference"])
def test_every_cluster_has_weights_of_its_own(parametrization, rng):
    """The published traffic model shares one storage among its clusters; here a loss on one cluster moves it alone."""
    layer = filled(EquivariantLinear(GROUP, 1, 1, parametrization=parametrization), rng)
    before = layer.dense().detach().clone()
    x = torch.randn(8, 6, 1, dtype=torch.float64, generator=rng)
    layer(x)[:, GROUP.partition.members(1)].square().sum().backward()
    with torch.no_grad():
        for p in layer.parameters():
            p -= 0.01 * p.grad
    moved = (layer.dense().detach() != before).any(dim=(1, 2, 3))
    assert moved.tolist() == (GROUP.partition.labels == 1).tolist()


def test_gradients_reach_every_weight(group, rng):
    layer = EquivariantLinear(group, 2, 3, generator=rng)
    layer(torch.randn(16, group.degree, 2, generator=rng)).square().sum().backward()
    assert all(bool((p.grad != 0).all()) for p in layer.parameters())


def test_set_dense_is_the_projection(group, rng):
    weight = torch.randn(group.degree, 3, group.degree, 2, dtype=torch.float64, generator=rng)
    bias = torch.randn(group.degree, 3, dtype=torch.float64, generator=rng)
    layer = EquivariantLinear(group, 2, 3).double()
    layer.set_dense(weight, bias)
    torch.testing.assert_close(layer.dense(), project(weight, group))
    torch.testing.assert_close(layer.dense_bias(), project(bias, group, output="invariant"))
    layer.set_dense(weight)
    assert torch.equal(layer.dense_bias(), torch.zeros_like(bias))


def test_set_dense_with_a_shared_bias_takes_its_mean(rng):
    layer = EquivariantLinear(GROUP, 1, 2, bias="shared").double()
    bias = torch.randn(6, 2, dtype=torch.float64, generator=rng)
    layer.set_dense(torch.zeros(6, 2, 6, 1, dtype=torch.float64), bias)
    torch.testing.assert_close(layer.dense_bias(), bias.mean(0).expand(6, 2))


@pytest.mark.parametrize("parametrization", ["orbits", "reference"])
def test_set_dense_serves_the_other_parametrisations_too(cluster_group, parametrization, rng):
    n = cluster_group.degree
    weight = torch.randn(n, 3, n, 2, dtype=torch.float64, generator=rng)
    layer = EquivariantLinear(cluster_group, 2, 3, parametrization=parametrization).double()
    layer.set_dense(weight)
    torch.testing.assert_close(layer.dense(), project(weight, cluster_group))


@pytest.mark.parametrize(
    "options", [{}, {"parametrization": "orbits"}, {"parametrization": "reference"}, {"bias": "shared"}, {"bias": None}], ids=str
)
def test_state_dicts_load_strictly(cluster_group, options, rng):
    layer = filled(EquivariantLinear(cluster_group, 2, 3, **options), rng)
    other = EquivariantLinear(cluster_group, 2, 3, **options).double()
    other.load_state_dict(layer.state_dict(), strict=True)
    assert torch.equal(other.dense(), layer.dense())
    assert set(layer.state_dict()) == {name for name, _ in layer.named_parameters()}


def test_fresh_layers_can_be_copied_and_pickled(group):
    fresh = {
        ClusterGroup: lambda g: ClusterGroup(g.partition, None if g.swaps is None else PermutationGroup(g.swaps.generators)),
        PermutationGroup: lambda g: PermutationGroup(g.generators, g.degree),
    }[type(group)](group)
    layer = EquivariantLinear(fresh, 2, 3)
    for clone in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(clone.dense(), layer.dense())
        assert repr(clone) == repr(layer)


BAD_INPUTS = [
    (torch.zeros(5, 2), r"expected x of shape \(\*, 6, 2\), got \(5, 2\)"),
    (torch.zeros(4, 6, 3), r"expected x of shape \(\*, 6, 2\), got \(4, 6, 3\)"),
    (torch.zeros(4, 2, 6), r"expected x of shape \(\*, 6, 2\), got \(4, 2, 6\)"),
    (torch.zeros(6), r"expected x of shape \(\*, 6, 2\), got \(6,\)"),
    (torch.zeros(4, 6, 2, dtype=torch.float64), r"expected x of dtype torch.float32, got torch.float64; convert x, or the layer"),
    (torch.zeros(4, 6, 2, dtype=torch.long), r"expected x of dtype torch.float32, got torch.int64"),
    (torch.zeros(4, 6, 2, device="meta"), r"expected x on cpu, got meta; move it with x.to"),
]


@pytest.mark.parametrize(("x", "message"), BAD_INPUTS, ids=[message[9:60] for _, message in BAD_INPUTS])
@pytest.mark.parametrize("kind", [EquivariantLinear, InvariantLinear])
def test_signals_of_another_shape_type_or_device_are_refused(kind, x, message):
    with pytest.raises(ShapeError, match=message):
        kind(GROUP, 2, 3)(x)


def test_signals_of_another_shape_are_refused_on_general_groups():
    with pytest.raises(ShapeError, match=r"expected x of shape \(\*, 7, 2\), got \(4, 6, 2\)"):
        EquivariantLinear(GENERATOR_GROUPS["hexagon"], 2, 3)(torch.zeros(4, 6, 2))


@pytest.mark.parametrize(
    ("group", "options", "message"),
    [
        (GROUP, {"bias": "node"}, r"expected bias to be one of 'orbit', 'shared', None, got 'node'"),
        (GROUP, {"bias": True}, r"expected bias to be one of .*, got True"),
        (
            GROUP,
            {"parametrization": "paper"},
            r"expected parametrization to be one of 'canonical', 'orbits', .*, got 'paper'",
        ),
        (GROUP, {"init": "zeros"}, r"expected init to be one of 'white', 'correlated', 'reference', 'fan_in', got 'zeros'"),
        (GROUP, {"init": "correlated", "rho": 1.5}, r"expected a correlation rho in \[0, 1\], got 1.5"),
        (
            GENERATOR_GROUPS["hexagon"],
            {"parametrization": "reference"},
            r"made for cluster groups, and .* is none; give parametrization='canonical' and init='white'",
        ),
        (
            GENERATOR_GROUPS["hexagon"],
            {"init": "reference"},
            r"init='reference' are made for cluster groups, and .* is none; give",
        ),
    ],
)
def test_settings_that_do_not_exist_are_refused(group, options, message):
    with pytest.raises(ConfigError, match=message):
        EquivariantLinear(group, 2, 3, **options)


@pytest.mark.parametrize("channels", [(0, 3), (2, 0), (-1, 3)])
@pytest.mark.parametrize("kind", [EquivariantLinear, InvariantLinear])
def test_no_channels_are_refused(kind, channels):
    with pytest.raises(ConfigError, match="expected whole numbers of channels, at least one in and out, got in_channels="):
        kind(GROUP, *channels)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.zeros(5, 3), torch.zeros(6, 3, 3)), ShapeError, r"expected w_diag \(6, 3\) and w_off \(6, 3, 3\), got \(5, 3\)"),
        ((torch.zeros(6, 3), torch.zeros(6, 9)), ShapeError, r"and w_off \(6, 3, 3\), got \(6, 3\) and \(6, 9\)"),
        ((torch.zeros(6, 3), torch.zeros(6, 3, 3), torch.arange(9.0).reshape(3, 3)), ConfigError, "bias per cluster"),
    ],
)
def test_reference_parameters_that_do_not_fit_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        EquivariantLinear(GROUP, 2, 3, bias="shared").from_reference_params(*arguments)


def test_a_bias_for_a_layer_without_bias_is_refused():
    layer = EquivariantLinear(GROUP, 2, 3, bias=None)
    with pytest.raises(ConfigError, match="the layer has bias=None; make it with bias='orbit'"):
        layer.from_reference_params(torch.zeros(6, 3), torch.zeros(6, 3, 3), torch.ones(3))


def test_published_weights_that_break_the_tying_are_refused():
    w_diag, w_off = torch.zeros(1, 5), torch.zeros(1, 5, 5)
    w_off[0, 0, 1] = 1.0
    layer = EquivariantLinear(TIED_GROUPS["tied"], 1, 1)
    with pytest.raises(ConfigError, match="expected weights that are equal where the swaps tie them, got others"):
        layer.from_reference_params(w_diag, w_off)


@pytest.mark.parametrize(("side", "published"), [(2, 589), (14, 1_081_165), (28, 17_232_349)])
def test_flip_tied_nets_have_the_published_number_of_trained_scalars(side, published):
    """1 -> 28 -> 1 channels on 28 x 28 pixels, patches swapped by the horizontal flip (Huang, Levie and Villar 2023)."""
    group = ClusterGroup(grid_patches((28, 28), (side, side)), swaps=grid_group((side, side), "horizontal_flip"))
    net = GNet(group, 1, 28, 1, parametrization="reference", init="reference", bias="shared")
    assert net.num_parameters == published


def test_reference_parameters_of_other_groups_are_refused():
    layer = EquivariantLinear(GROUPS["hexagon"], 1, 1)
    with pytest.raises(ConfigError, match="reference parameters exist for cluster groups only"):
        layer.to_reference_params()
    with pytest.raises(ConfigError, match="reference parameters exist for cluster groups only"):
        layer.from_reference_params(torch.zeros(1, 1), torch.zeros(1, 1, 1))


def test_a_reference_bias_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match="b"):
        EquivariantLinear(GROUP, 2, 3).from_reference_params(torch.zeros(6, 3), torch.zeros(6, 3, 3), torch.zeros(4))


@pytest.mark.parametrize("shape", [(5, 3, 6, 2), (6, 3, 5, 2), (6, 7)])
def test_set_dense_refuses_maps_on_other_nodes(shape):
    with pytest.raises(ShapeError, match=r"expected a weight \(6, 3, 6, 2\)"):
        EquivariantLinear(GROUP, 2, 3).set_dense(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(6, 3, 6, 1), (6, 4, 6, 2), (6, 6)])
def test_set_dense_refuses_other_channels(shape):
    with pytest.raises(ShapeError, match="expected"):
        EquivariantLinear(GROUP, 2, 3).set_dense(torch.zeros(shape))


def test_set_dense_refuses_a_bias_that_has_no_place():
    with pytest.raises(ConfigError, match="bias"):
        EquivariantLinear(GROUP, 1, 1, bias=None).set_dense(torch.zeros(6, 1, 6, 1), torch.ones(6, 1))


def test_impossible_widths_and_gains_are_refused():
    with pytest.raises(ConfigError, match=r"expected whole numbers of channels, .* got in_channels=1\.5"):
        EquivariantLinear(SymmetricGroup(3), 1.5, 4)
    with pytest.raises(ConfigError, match=r"expected a gain > 0, got -1\.0"):
        EquivariantLinear(SymmetricGroup(3), 1, 4, gain=-1.0)
