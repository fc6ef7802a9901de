"""An equivariant module beside a free one: exact at w = 0, broken in proportion to w, for groups of matrices and of nodes."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from gnet import GNet
from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.groups import TRIVIAL_ACTION
from gnet.measures import equivariance_error, project
from gnet.nn import EquivariantLinear
from gnet.nn.relaxed import Penalised, Relaxed, ResidualPathway, equivariance_penalty, penalty
from gnet.plugins.averaging import Averaged
from gnet.plugins.tensors import EMLP, SO, D, Embed, Lorentz, O, RepLinear, S, T, regular
from gnet.training import Anneal
from tests.nn.relaxed.cases import GROUP, TRIVIAL, signals

D3 = D(3)
CASES = {
    "SO(3)": (SO(3), 2 * T(1), T(0) + T(2)),
    "O(2) in R3": (Embed(O(2), 3), 4 * T(1), T(0) + T(1)),
    "S(4)": (S(4), T(1), T(2)),
    "regular": (D3, T(1) + regular(D3), regular(D3)),
    "Lorentz": (Lorentz(1), T(1) + T(0, 1), T(1)),
}


def dense_of(f: nn.Module, size: int) -> Tensor:
    """The map of an affine module, (n', n)."""
    zero = torch.zeros(1, size, dtype=torch.float64)
    return (f(torch.eye(size, dtype=torch.float64)) - f(zero)).mT.detach()


def made(name: str, rng: torch.Generator, w: float = 0.5, **more) -> tuple[Relaxed, Tensor]:
    """With a plain linear map beside all equivariant ones, and inputs."""
    group, given, out = CASES[name]
    free = nn.Linear(given.size(group.dim), out.size(group.dim)).double()
    with torch.no_grad():
        for p in free.parameters():
            p.copy_(torch.randn(p.shape, dtype=p.dtype, generator=rng))
    x = torch.randn(12, given.size(group.dim), dtype=torch.float64, generator=rng)
    return Relaxed(RepLinear(given, out, group, generator=rng).double(), free, w, **more).double(), x


@pytest.mark.parametrize("name", CASES)
def test_zero_is_exactly_the_group_and_more_is_not(name, rng):
    group, given, out = CASES[name]
    net, x = made(name, rng, 0.0)
    assert net.equivariance_error(x, generator=rng) < 1e-12
    assert equivariance_error(net, x, group, given, out, generator=rng).relative < 1e-12
    torch.testing.assert_close(net(x), net.equivariant(x))
    net.strength.fill_(0.5)
    assert net.equivariance_error(x, generator=rng) > 1e-2
    assert equivariance_error(net, x, group, given, out, generator=rng).relative > 1e-2


def test_a_liar_in_the_place_of_the_equivariant_part_is_measured(rng):
    """Nothing is taken on trust: a plain map there has an error at w = 0."""
    net, x = made("SO(3)", rng, 0.0)
    liar = Relaxed(net.free, net.free, 0.0, group=net.group, action_in=net.action_in, action_out=net.action_out)
    assert liar.equivariance_error(x, generator=rng) > 0.1
    assert net.equivariance_error(x, generator=rng) < 1e-12


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("w", [0.25, 2.0])
def test_the_error_is_w_squared_times_that_of_the_free_part(name, w, rng):
    group, given, out = CASES[name]
    net, x = made(name, rng, w)
    chosen = group if group.is_compact else group.sampled_by(group.sample)
    whole, free = (
        equivariance_penalty(f, x, chosen, given, out, num_samples=8, generator=torch.Generator().manual_seed(0))
        for f in (net, net.free)
    )
    torch.testing.assert_close(whole, w**2 * free)
    assert float(free.detach()) > 1e-2


@pytest.mark.parametrize("name", ["SO(3)", "O(2) in R3", "S(4)"])
def test_what_the_average_takes_away_is_the_free_parts(name, rng):
    group, given, out = CASES[name]
    net, x = made(name, rng, 0.5)
    maps = [dense_of(each, x.shape[1]) for each in (net, net.free)]
    lost, own = (theta - project(theta, group, action_in=given, action_out=out) for theta in maps)
    torch.testing.assert_close(lost, 0.5 * own)
    assert float(own.norm()) > 0.1


def test_the_penalty_is_that_of_the_written_priors(rng):
    net, _ = made("SO(3)", rng, 0.5, sigma=(2.0, 0.1))
    f, u = net.equivariant, net.free
    maps = f.dense().square().sum() + f.dense_bias().square().sum()  # coefficients are in orthonormal bases
    expected = maps / (2 * 2.0**2) + (u.weight.square().sum() + u.bias.square().sum()) / (2 * 0.1**2)
    torch.testing.assert_close(net.penalty(), expected)
    torch.testing.assert_close(penalty(nn.Sequential(net)), expected)
    net.strength.fill_(0.0)
    torch.testing.assert_close(net.penalty(), expected)  # of the weights, whatever they are multiplied by
    net.penalty().backward()
    torch.testing.assert_close(u.weight.grad, u.weight.detach() / 0.1**2)
    none, _ = made("SO(3)", rng)
    assert float(none.penalty()) == 0.0
    one_sided, _ = made("SO(3)", rng, sigma=(None, 1.0))
    of_free = sum(p.square().sum() for p in one_sided.free.parameters()) / 2
    torch.testing.assert_close(one_sided.penalty(), of_free)


def test_a_narrower_prior_leaves_less_asymmetry(rng):
    """The minimum of a quadratic loss with the penalty, in closed form: the measured error falls with sigma of the free part."""
    errors, start = [], made("SO(3)", rng)[0]
    group, given, out = CASES["SO(3)"]
    x = torch.randn(60, 6, dtype=torch.float64, generator=rng)
    truth = torch.randn(10, 6, dtype=torch.float64, generator=rng)
    y = x @ truth.mT
    for sigma in (10.0, 0.3, 0.01):
        net = Relaxed(copy.deepcopy(start.equivariant), copy.deepcopy(start.free), 1.0, sigma=(None, sigma)).double()
        solver = torch.optim.LBFGS(net.parameters(), max_iter=300, line_search_fn="strong_wolfe")

        def closure(net: Relaxed = net, solver: torch.optim.LBFGS = solver) -> Tensor:
            solver.zero_grad()
            loss = (net(x) - y).square().sum(1).mean() + net.penalty()
            loss.backward()
            return loss

        solver.step(closure)
        errors.append(equivariance_error(net, x, group, given, out, num_samples=64, generator=rng).relative)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.3 and errors[-1] < 0.05


def test_any_modules_and_groups_will_do(rng):
    group, given, out = Embed(O(2), 3), 4 * T(1), T(1)
    deep = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x = torch.randn(9, 12, dtype=torch.float64, generator=rng)
    emlp = EMLP(given, out, group, ch=20, layers=1, generator=rng).double()
    assert Relaxed(emlp, deep, 0.0).double().equivariance_error(x, generator=rng) < 1e-10
    assert Relaxed(emlp, deep, 1.0).double().equivariance_error(x, generator=rng) > 1e-3
    one = nn.Sequential(nn.Linear(12, 1), nn.Flatten(0)).double()
    mean = Averaged(one, D3, 6 * T(1))  # knows its actions, and that its outputs do not move
    net = Relaxed(mean, copy.deepcopy(one), 0.0)
    assert net.action_out is TRIVIAL_ACTION and net.equivariance_error(x, generator=rng) < 1e-12
    net.strength.fill_(1.0)
    assert net.equivariance_error(x, generator=rng) > 1e-2
    nodes = signals(5, 6, 2, rng=rng)
    on_nodes = Relaxed(GNet(GROUP, 2, 3, 1).double(), GNet(TRIVIAL, 2, 3, 1).double(), 0.0, group=GROUP)
    assert on_nodes.equivariance_error(nodes, generator=rng) < 1e-12
    on_nodes.strength.fill_(1.0)
    assert on_nodes.equivariance_error(nodes, generator=rng) > 1e-3


def test_it_is_the_residual_pathway_of_nodes(rng):
    layer = ResidualPathway(GROUP, 2, 3, scale=1.0, generator=rng).double()
    net = Relaxed(layer.equivariant, layer.residual, 0.7).double()
    layer.strength.copy_(net.strength)
    x = signals(4, 6, 2, rng=rng)
    torch.testing.assert_close(net(x), layer(x))
    assert isinstance(net.equivariant, EquivariantLinear) and net.group is GROUP


def test_it_is_asked_with_its_error_and_can_be_annealed(rng):
    net, x = made("SO(3)", rng, 0.5, sigma=(None, 1.0))
    group, given, out = CASES["SO(3)"]
    asked = Penalised(net, group, 2.0, action_in=given, action_out=out, generator=torch.Generator().manual_seed(0))
    asked(x)
    error = equivariance_penalty(net, x, group, given, out, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(penalty(asked), 2.0 * error + net.penalty())
    assert Anneal()._holders(asked) == [net]
    again = made("SO(3)", rng, 0.0)[0]
    again.load_state_dict(net.state_dict())
    torch.testing.assert_close(again(x), net(x))


def test_complex_outputs_keep_real_strengths(rng):
    group = SO(2)
    given, free = (nn.Linear(2, 2, dtype=torch.complex128) for _ in range(2))
    net = Relaxed(given, free, 0.5, group=group, sigma=(1.0, 1.0))
    x = torch.randn(3, 2, dtype=torch.complex128, generator=rng)
    torch.testing.assert_close(net(x), given(x) + 0.5 * free(x))
    assert not net.penalty().is_complex()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Relaxed(nn.Identity(), nn.Identity(), -1.0), ConfigError, "expected w >= 0, got -1.0"),
        (lambda: Relaxed(nn.Identity(), nn.Identity(), math.inf), ConfigError, "expected w >= 0 and finite"),
        (lambda: Relaxed(nn.Identity(), nn.Identity(), sigma=(1.0, 0.0)), ConfigError, "expected sigma as two widths > 0"),
        (lambda: Relaxed(nn.Identity(), torch.tanh), ConfigError, "expected free as a module, got builtin_function_or_method"),
        (lambda: Relaxed(torch.tanh, nn.Identity()), ConfigError, "expected equivariant as a module"),
        (lambda: Relaxed(nn.Identity(), nn.Identity(), group=[[1, 0]]), GroupError, "expected a group, got list"),
        (lambda: Relaxed(nn.Identity(), nn.Identity()).equivariance_error(torch.ones(2, 3)), GroupError, "Identity has none"),
        (lambda: Relaxed(nn.Identity(), nn.Flatten(0))(torch.ones(2, 1)), ShapeError, r"\(2, 1\) of the equivariant and \(2,\)"),
        (lambda: ResidualPathway(SO(3), 1, 1), GroupError, r"expected a node group, got SO\(3\); of other groups take .*Relaxed"),
        (lambda: ResidualPathway("S3", 1, 1), GroupError, "expected a node group, got str"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
