"""Penalties for any module and group: unbiased, exact for linear layers; and modules that ask for them."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, GroupError, NotCompactError, ShapeError
from gnet.groups import TRIVIAL_ACTION, GeneratedGroup, MatrixGroup, PermutationGroup, SymmetricGroup
from gnet.measures import equivariance_error, project
from gnet.nn import EquivariantLinear, GNet, InvariantLinear, Propagate
from gnet.nn.relaxed import Penalised, equivariance_penalty, linear_penalty, penalty
from gnet.nn.relaxed.moving import error_at
from gnet.plugins.tensors import SO, D, Lorentz, O, Realified, RepLinear, S, T, Trivial, U
from tests.nn.relaxed.cases import DIHEDRAL, EDGES, FINER, GROUP, TRIVIAL, WHOLE, by_elements, made, scrambled, signals


class Turns(MatrixGroup):
    """Rotations of the plane."""

    name, dim = "SO(2)", 2

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        angles = 2 * torch.pi * torch.rand(num, dtype=torch.float64, generator=generator)
        return torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1).reshape(num, 2, 2)


class Scripted(PermutationGroup):
    """Draws its elements in their order."""

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        self.turn = getattr(self, "turn", -1) + 1
        return self.elements()[self.turn % self.order()].expand(num, -1)


def minimise(loss: Callable[[], Tensor], module: nn.Module) -> None:
    """To the minimum of a loss that is quadratic in the weights, by one Newton step."""
    parameters = list(module.parameters())
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss(), parameters, create_graph=True)])
    rows = [torch.autograd.grad(each, parameters, retain_graph=True, materialize_grads=True) for each in gradient]
    hessian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    step = torch.linalg.lstsq(hessian, gradient.detach()).solution
    with torch.no_grad():
        for p, part in zip(parameters, step.split([p.numel() for p in parameters]), strict=True):
            p -= part.reshape(p.shape)


def net_of(rng: torch.Generator) -> nn.Module:
    return scrambled(GNet(TRIVIAL, 2, 4, 3, act="tanh").double(), rng)


@pytest.mark.parametrize("group", [GROUP, DIHEDRAL], ids=["clusters", "generators"])
def test_its_mean_over_all_elements_is_the_measured_error(group, rng):
    net, x = net_of(rng), signals(5, 6, 2, rng=rng)
    each = [error_at(net, g, x, (), net(x), group, None, None).item() for g in group.elements()]
    measured = equivariance_error(net, x, group, num_samples=None)
    assert np.mean(each) == pytest.approx(measured.mean_square, rel=1e-10)
    assert len(set(each)) > 2


def test_one_call_draws_one_element_of_the_whole_group(rng):
    group = Scripted([[1, 2, 3, 4, 5, 0], [5, 4, 3, 2, 1, 0]])
    net, x = net_of(rng), signals(5, 6, 2, rng=rng)
    draws = [equivariance_penalty(net, x, group).item() for _ in range(group.order())]
    assert np.mean(draws) == pytest.approx(equivariance_error(net, x, group, num_samples=None).mean_square, rel=1e-10)


def test_many_elements_are_the_mean_of_single_ones(rng):
    net, x = net_of(rng), signals(5, 6, 2, rng=rng)
    whole = equivariance_error(net, x, GROUP, num_samples=None).mean_square
    singles, means = (
        [equivariance_penalty(net, x, GROUP, num_samples=n, generator=rng).item() for _ in range(60)] for n in (1, 8)
    )
    assert np.std(means) < 0.6 * np.std(singles)  # sqrt(1/8) is 0.35
    assert abs(np.mean(means) - whole) < 5 * np.std(means) / 60**0.5
    scripted = [[1, 2, 3, 4, 5, 0], [5, 4, 3, 2, 1, 0]]
    elements = Scripted(scripted).sample(2)
    each = [error_at(net, g, x, (), net(x), GROUP, None, None) for g in elements]
    asked = Penalised(net, Scripted(scripted), 0.5, num_samples=2)
    asked(x)
    torch.testing.assert_close(asked.penalty(), 0.5 * torch.stack(each).mean())
    for ask in (lambda: equivariance_penalty(net, x, GROUP, num_samples=0), lambda: Penalised(net, GROUP, num_samples=0)):
        with pytest.raises(ConfigError, match="expected num_samples >= 1, got 0"):
            ask()


def test_a_gradient_can_be_stopped(rng):
    net, x = net_of(rng), signals(5, 6, 2, rng=rng)
    g = GROUP.elements()[3]
    group = GROUP.sampled_by(lambda num, generator: g.expand(num, -1))
    whole, half = (equivariance_penalty(net, x, group, stop_gradient=stops) for stops in (False, True))
    torch.testing.assert_close(whole, half)
    gradients = [torch.autograd.grad(each, list(net.parameters())) for each in (whole, half)]
    both, one = (torch.cat([each.flatten() for each in parts]) for parts in gradients)
    assert float((both - one).norm()) > 0.1 * float(both.norm())
    target = error_at(net, g, x, (), net(x).detach(), GROUP, None, None)
    torch.testing.assert_close(gradients[1], torch.autograd.grad(target, list(net.parameters())))


def gradients_of_both(net: nn.Module, x: Tensor, group, elements: Tensor) -> tuple[Tensor, Tensor]:
    """Of the mean over given elements: of the whole penalty, and of the stopped one."""
    chosen = group.sampled_by(lambda num, generator: elements)
    found = []
    for stops in (False, True):
        loss = equivariance_penalty(net, x, chosen, num_samples=len(elements), stop_gradient=stops)
        found.append(torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(net.parameters()))]))
    return found[0], found[1]


def unlike(half: Tensor, whole: Tensor) -> float:
    return float((half - whole / 2).norm() / whole.norm())


@pytest.mark.parametrize("is_linear", [True, False], ids=["linear", "tanh"])
@pytest.mark.parametrize("name", ["turns and mirrors", "nodes"])
def test_a_stopped_gradient_is_half_of_the_whole_in_mean(name, is_linear, rng):
    """With (T_g f)(x) = g^-1 f(g x) unitary: 2 (2 f - T_g f - T_g^* f) and 2 (f - T_g^* f), in mean 4 and 2 (f - Q f)."""
    if name == "nodes":
        group, points, sizes = DIHEDRAL, signals(3, 6, 1, rng=rng), (1, 4, 1)
        crooked = EquivariantLinear(TRIVIAL, 1, 1, generator=rng).double()
        net = crooked if is_linear else GNet(TRIVIAL, *sizes, act="tanh").double()
    else:
        group, points = D(5), signals(3, 2, rng=rng)
        net = nn.Linear(2, 2).double() if is_linear else nn.Sequential(nn.Linear(2, 7), nn.Tanh(), nn.Linear(7, 2)).double()
    net, elements = scrambled(net, rng), torch.stack(list(group.elements()))
    x = torch.cat([group.action(g, points) for g in elements])  # which no element changes, as a set
    whole, half = gradients_of_both(net, x, group, elements)
    assert unlike(half, whole) < 1e-12 and float(whole.norm()) > 1e-3
    # Neither of one element that is not its own inverse, nor on inputs that the group changes.
    single = next(g for g in elements if not torch.allclose(group.compose(g, g), group.identity))
    assert unlike(*reversed(gradients_of_both(net, x, group, single[None]))) > 1e-3
    assert unlike(*reversed(gradients_of_both(net, points, group, elements))) > 1e-3


def test_a_stopped_gradient_is_not_half_of_it_for_other_actions(rng):
    """The liar: a skewed basis, in which the action keeps no lengths."""
    skewed = GeneratedGroup("C3, skewed", [torch.tensor([[0.0, -1.0], [1.0, -1.0]])])
    x = torch.cat([signals(3, 2, rng=rng) @ g.mT for g in skewed.elements()])
    net = scrambled(nn.Linear(2, 2).double(), rng)
    assert unlike(*reversed(gradients_of_both(net, x, skewed, skewed.elements()))) > 1e-3


def test_complex_outputs_have_real_penalties(rng):
    x = torch.randn(40, 2, dtype=torch.complex128, generator=rng)
    crooked = nn.Linear(2, 2, dtype=torch.complex128)
    asked = equivariance_penalty(crooked, x, U(2), num_samples=400, generator=rng)
    asked.backward()
    assert not asked.is_complex() and float(crooked.weight.grad.abs().max()) > 0
    with torch.no_grad():
        measured = equivariance_error(crooked, x, U(2), num_samples=400, generator=rng)
    assert float(asked.detach()) == pytest.approx(measured.mean_square, rel=0.1)
    assert equivariance_error(lambda z: z.conj(), x, U(2), generator=rng).relative > 0.1


def test_draws_are_uniform(rng):
    net, x = net_of(rng), signals(2, 6, 2, rng=rng)
    draws = np.array([equivariance_penalty(net, x, GROUP, generator=rng).item() for _ in range(100)])
    measured = equivariance_error(net, x, GROUP, num_samples=None).mean_square
    assert abs(draws.mean() - measured) < 5 * draws.std() / 10


def test_a_biased_penalty_is_caught(rng):
    """A liar that never draws the identity overestimates by |G| / (|G| - 1)."""
    net, x = net_of(rng), signals(2, 6, 2, rng=rng)
    each = [error_at(net, g, x, (), net(x), GROUP, None, None).item() for g in GROUP.elements()[1:]]
    assert np.mean(each) == pytest.approx(equivariance_error(net, x, GROUP, num_samples=None).mean_square * 12 / 11)


def test_invariant_outputs_and_other_groups(rng):
    linear = InvariantLinear(GROUP, 2, 3, generator=rng).double()
    x = signals(4, 6, 2, rng=rng)
    assert equivariance_penalty(linear, x, GROUP, action_out=TRIVIAL_ACTION).item() < 1e-20
    points = signals(7, 5, 2, rng=rng)
    assert equivariance_penalty(lambda p: 2 * p, points, Turns()).item() < 1e-20
    assert equivariance_penalty(lambda p: p.abs(), points, Turns(), generator=rng).item() > 1e-3
    assert equivariance_penalty(lambda p: p.norm(dim=-1), points, Turns(), action_out=TRIVIAL_ACTION).item() < 1e-20


def test_a_single_signal_is_a_batch_of_one(rng):
    group, net, x = Scripted([[1, 2, 3, 4, 5, 0]]), net_of(rng), signals(6, 2, rng=rng)
    one, batch = equivariance_penalty(net, x, group), equivariance_penalty(net, x[None], Scripted([[1, 2, 3, 4, 5, 0]]))
    torch.testing.assert_close(one, batch)


def test_a_known_output_saves_a_call(rng):
    net, x = net_of(rng), signals(4, 6, 2, rng=rng)
    calls = []
    net.register_forward_hook(lambda *_: calls.append(1))
    y = net(x)
    equivariance_penalty(net, x, GROUP, y=y).backward()
    assert len(calls) == 2
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("group", [GROUP, DIHEDRAL, WHOLE], ids=["clusters", "generators", "symmetric"])
def test_linear_penalty_is_the_written_one(group, rng):
    layers = [EquivariantLinear(TRIVIAL, 2, 4), made("low rank", rng), InvariantLinear(TRIVIAL, 3, 2)]
    net = scrambled(GNet.from_layers([layers[0], nn.Tanh(), nn.Sequential(layers[1]), layers[2]]).double(), rng)
    expected = 0.0
    for layer in layers[:2]:
        weight, bias = layer.dense().detach(), layer.dense_bias().detach()
        expected += np.square(weight.numpy() - by_elements(weight, group)).sum()
        expected += float((bias - group.node_orbits().average(bias)).square().sum())
    theta = layers[2].dense().detach()
    moved = torch.stack([theta[:, g] for g in group.elements()]).mean(0)
    expected += float((theta - moved).square().sum())
    found = linear_penalty(net, group)
    assert found.item() == pytest.approx(expected, rel=1e-10)
    found.backward()
    assert layers[0].weight.mix.grad is not None


def test_linear_penalty_asks_layers_of_the_same_group_for_their_own(rng):
    for name in ("residual", "chain with fixed gates", "sum"):
        layer = made(name, rng)
        expected = layer.broken().item()
        assert linear_penalty(nn.Sequential(layer), layer.group).item() == pytest.approx(expected, rel=1e-12)
    soft = made("soft", rng)  # whose own answer is about the partition of now
    weight, bias = soft.dense().detach(), soft.dense_bias().detach()
    expected = np.square(weight.numpy() - by_elements(weight, GROUP)).sum()
    expected += float((bias - GROUP.node_orbits().average(bias)).square().sum())
    assert linear_penalty(soft, GROUP).item() == pytest.approx(expected, rel=1e-10)


def test_linear_penalty_of_nothing_is_refused():
    with pytest.raises(ShapeError, match=r"expected layers with dense\(\) on the 6 nodes of S6, got Linear without"):
        linear_penalty(nn.Linear(2, 2), WHOLE)
    with pytest.raises(ShapeError, match="on the 5 nodes of S5"):
        linear_penalty(EquivariantLinear(GROUP, 1, 1), SymmetricGroup(5))
    with pytest.raises(GroupError, match="expected a node group"):
        linear_penalty(EquivariantLinear(GROUP, 1, 1), [[1, 0]])


SKEWED = GeneratedGroup("C3, skewed", [torch.tensor([[0.0, -1.0], [1.0, -1.0]])])  # finite, and not orthogonal
TURNS = {"SO(3)": SO(3), "D(4)": D(4), "S(3)": S(3), "U(2), real": Realified(U(2)), "skewed": SKEWED}


@pytest.mark.parametrize("name", TURNS)
def test_linear_penalty_over_a_group_of_matrices(name, rng):
    """Against the mean over all elements, or many; and exactly zero for what is equivariant."""
    group = TURNS[name]
    layer = nn.Linear(group.dim, group.dim).double()
    elements = group.elements() if group.is_finite else group.sample(100_000, rng)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    inverses = torch.linalg.inv(elements)
    expected = (weight - (inverses @ weight @ elements).mean(0)).square().sum() + (
        bias - (inverses @ bias).mean(0)
    ).square().sum()
    found = linear_penalty(nn.Sequential(layer, nn.Tanh()), group)
    assert found.item() == pytest.approx(float(expected), rel=1e-9 if group.is_finite else 0.05)
    found.backward()
    if group.is_orthogonal:  # the mean is an orthogonal projection
        torch.testing.assert_close(layer.weight.grad, 2 * (weight - project(weight, group)))
    unit = nn.Linear(group.dim, group.dim, bias=False).double()
    nn.init.eye_(unit.weight)
    assert linear_penalty(unit, group).item() < 1e-20


def test_linear_penalty_moves_layers_by_the_actions_they_state(rng):
    layer = RepLinear(T(1), T(1) + T(2), SO(3), generator=rng).double()
    assert linear_penalty(layer, SO(3)).item() < 1e-20
    nn.init.ones_(layer.weight)
    # Of the two unit maps that from vectors to skew matrices does not commute with mirrors.
    assert linear_penalty(layer, O(3)).item() == pytest.approx(1.0)
    free = RepLinear(T(1), T(1) + T(2), Trivial(3), generator=rng).double()
    weight, bias = free.dense(), free.dense_bias()
    expected = (weight - project(weight, SO(3), action_in=T(1), action_out=T(1) + T(2))).square().sum()
    expected = (
        expected + (bias - project(bias[:, None], SO(3), action_in=TRIVIAL_ACTION, action_out=T(1) + T(2))[:, 0]).square().sum()
    )
    torch.testing.assert_close(linear_penalty(free, SO(3)), expected)
    assert float(expected.detach()) > 0.1


def test_linear_penalty_says_what_it_cannot_know():
    with pytest.raises(GroupError, match=r"how SO\(3\) moves what a Linear \(16, 3\) takes and returns is not known"):
        linear_penalty(nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3)), SO(3))
    with pytest.raises(ShapeError, match=r"expected layers with a matrix dense\(\) or nn.Linear, got Tanh without"):
        linear_penalty(nn.Tanh(), SO(3))
    with pytest.raises(NotCompactError, match=r"linear_penalty needs a compact group, got O\(1,2\)"):
        linear_penalty(nn.Linear(3, 3), Lorentz(2))


def test_bad_inputs_of_the_penalty_are_refused():
    with pytest.raises(ShapeError, match=r"expected a batch of inputs"):
        equivariance_penalty(torch.tanh, torch.zeros(3), Turns())
    with pytest.raises(ShapeError, match="expected f to keep its shape"):
        equivariance_penalty(torch.tanh, torch.zeros(2, 6, 1), GROUP, y=torch.zeros(2, 6, 2))


class TestPenalised:
    def test_asks_once_for_each_training_forward(self, rng):
        net, x = Penalised(net_of(rng), GROUP, 0.5), signals(4, 6, 2, rng=rng)
        torch.testing.assert_close(net(x), net.module(x))
        assert net.penalty().requires_grad
        assert not net.penalty().requires_grad
        net.eval()(x)
        assert net.penalty().item() == 0.0
        net.train()(x)
        net.eval()(x)
        assert net.penalty().item() == 0.0, "evaluation forgets the training batch"

    def test_is_the_weighted_error(self, rng):
        group, x = Scripted([[1, 2, 3, 4, 5, 0]]), signals(4, 6, 2, rng=rng)
        net = Penalised(net_of(rng), group, 0.5)
        net(x)
        expected = 0.5 * equivariance_penalty(net.module, x, Scripted([[1, 2, 3, 4, 5, 0]]))
        torch.testing.assert_close(penalty(nn.Sequential(net)), expected)

    def test_costs_one_more_call(self, rng):
        net, x = Penalised(net_of(rng), GROUP), signals(4, 6, 2, rng=rng)
        calls = []
        net.module.register_forward_hook(lambda *_: calls.append(1))
        (net(x).square().mean() + net.penalty()).backward()
        assert len(calls) == 2

    def test_an_output_that_was_written_over_is_made_again(self, rng):
        x, group = signals(4, 6, 2, rng=rng), Scripted([[1, 2, 3, 4, 5, 0]])
        net = Penalised(net_of(rng), group)
        torch.relu_(net(x))
        expected = equivariance_penalty(net.module, x, Scripted([[1, 2, 3, 4, 5, 0]]))
        torch.testing.assert_close(net.penalty(), expected)

    def test_can_be_copied_between_forward_and_penalty(self, rng):
        net, x = Penalised(net_of(rng), GROUP), signals(4, 6, 2, rng=rng)
        net(x)
        twin = copy.deepcopy(net)
        assert not twin.penalty().requires_grad
        assert net.penalty().requires_grad

    def test_shown_targets_move_as_outputs_do(self, rng):
        class Shown(nn.Module):
            def forward(self, x: Tensor, y: Tensor, steps: int) -> Tensor:
                return x + steps * y

        net, x = Penalised(Shown(), GROUP, generator=rng), signals(4, 6, 2, rng=rng)
        net(x, signals(4, 6, 2, rng=rng), 3)
        assert net.penalty().item() < 1e-20

    def test_negative_weights_are_refused(self):
        with pytest.raises(ConfigError, match="expected weight >= 0"):
            Penalised(nn.Identity(), GROUP, -1.0)


@pytest.mark.parametrize("kind", ["linear", "sampled"])
def test_growing_penalties_lead_to_the_group(kind, rng):
    """Least squares onto a truth without symmetry: as the weight grows, the error falls to zero."""
    truth, x, group = signals(6, 1, 6, 1, rng=rng), signals(40, 6, 1, rng=rng), FINER
    y = torch.einsum("nomi,bmi->bno", truth, x)
    errors = []
    for weight in (0.0, 1.0, 100.0, 1e5):
        layer = EquivariantLinear(TRIVIAL, 1, 1, generator=rng).double()

        def loss(layer: nn.Module = layer, weight: float = weight) -> Tensor:
            out = layer(x)
            if kind == "linear":
                away = linear_penalty(layer, group)
            else:
                away = torch.stack([error_at(layer, g, x, (), out, group, None, None) for g in group.elements()]).mean()
            return (out - y).square().sum(1).mean() + weight * away

        minimise(loss, layer)
        dense = layer.dense().detach()
        errors.append(float(np.linalg.norm(dense.numpy() - by_elements(dense, group)) / dense.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.2 and errors[-1] < 1e-4


def test_a_net_behind_a_graph_is_penalised_by_its_maps_alone():
    net = GNet(GROUP, 1, 2, 1, propagate="graph", edge_index=EDGES).double()
    assert isinstance(net.blocks[0].propagate, Propagate)
    assert linear_penalty(net, GROUP).item() < 1e-20
