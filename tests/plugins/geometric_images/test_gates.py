"""Nonlinearities where inputs are special: contractions that are 0 for every input, tensors that are 0, compiled graphs."""

import pytest
import torch

from gnet import equivariance_error
from gnet.plugins.geometric_images import (
    ContractGate,
    GeometricImage,
    GINet,
    ImageGroup,
    MultiImage,
    NormGate,
    Signature,
    count_filters,
    curl,
)
from gnet.plugins.geometric_images.gates import GATES, SLOPE
from tests.plugins.geometric_images.slow import drawn

PSEUDOVECTOR = Signature(3, {(1, -1): 1})
HIDDEN = Signature(3, {(0, 1): 1, (1, 1): 1, (1, -1): 1, (2, 1): 2})


class SignOfRounding(ContractGate):
    """The liar: where every contraction is 0, the sign of its rounding decides."""

    def _of(self, x):
        found = []
        for (k, p), block in self.sig_in.blocks(x):
            if (k, p) == (2, 1):
                trace = block.unflatten(2, (self.sig_in.d,) * 2).diagonal(dim1=2, dim2=3).sum(-1)
                block = torch.where(trace[:, :, None] >= 0, block, SLOPE * block)
            elif (k, p) == (0, 1):
                block = torch.nn.functional.leaky_relu(block, SLOPE)
            found.append(block.flatten(1, 2))
        return torch.cat(found, 1)


def error_of(net, sig, x, dtype, rng):
    act, group = sig.action(ImageGroup(4, 3)), ImageGroup(4, 3)
    return equivariance_error(net.to(dtype), x.to(dtype), group, act, act, num_samples=8, generator=rng).relative


@pytest.mark.parametrize("source", ["noise", "curl"])
@pytest.mark.parametrize("gate", GATES)
def test_nets_of_pseudovectors_in_space_obey_the_laws(gate, source, rng):
    """No filter of 3 x 3 x 3 pixels makes a scalar of a pseudovector, so that the traces of all 2-tensors are 0."""
    assert count_filters(3, 3, 1, -1) == 0
    flow = drawn(rng, 3, 1, -1 if source == "noise" else 1, side=4, lead=(1, 1))
    x = MultiImage.of(flow if source == "noise" else curl(flow)).stacked()
    net = GINet(PSEUDOVECTOR, HIDDEN, PSEUDOVECTOR, gate=gate, generator=rng)
    assert error_of(net, PSEUDOVECTOR, x, torch.float32, rng) < 1e-5
    assert error_of(net, PSEUDOVECTOR, x, torch.float64, rng) < 1e-13
    if gate == "contract":
        net.gates[0] = net.gates[1] = SignOfRounding(HIDDEN)
        assert error_of(net, PSEUDOVECTOR, x, torch.float64, rng) > 0.1


def test_contractions_that_are_not_0_decide(rng):
    sig = Signature(3, {(0, 1): 1, (2, 1): 1})
    x = torch.randn(50, sig.size, 3, 3, 3, dtype=torch.float64, generator=rng)
    found, traces = ContractGate(sig)(x), x[:, [1, 5, 9]].sum(1, keepdim=True)
    torch.testing.assert_close(found[:, :1], torch.nn.functional.leaky_relu(x[:, :1], SLOPE))
    torch.testing.assert_close(found[:, 1:], torch.where(traces >= 0, 1.0, SLOPE) * x[:, 1:])


def test_gates_of_norms_have_second_derivatives_at_0(rng):
    gate = NormGate(Signature(2, {(0, -1): 1, (1, 1): 2})).double()
    x = torch.randn(1, 5, 2, 2, dtype=torch.float64, generator=rng)
    x[:, :, 0, 1] = 0.0
    x[:, 1:3, 1] = 0.0
    assert torch.autograd.gradcheck(gate, x.requires_grad_())
    assert torch.autograd.gradgradcheck(gate, x)


@pytest.mark.parametrize("gate", ["norm", "scalars", "products"])
def test_forces_of_an_energy_are_trained_where_pixels_are_0(gate):
    scalar = Signature(2, {(0, 1): 1})
    net = GINet(scalar, Signature(2, {(0, 1): 2, (1, 1): 2}), scalar, gate=gate)
    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 5, 5] = 1.0
    force = torch.autograd.grad(net(x.requires_grad_()).sum(), x, create_graph=True)[0]
    force.square().mean().backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)


def test_norms_have_derivatives_at_0_and_at_the_ends_of_a_dtype():
    for values, norm in (((3e-30, 4e-30), 5e-30), ((3e30, 4e30), 5e30), ((0.0, 0.0), 0.0), ((1e-45, 0.0), 1e-45)):
        data = torch.tensor(values).expand(2, 2, 2).clone().requires_grad_()
        found = GeometricImage(data, 2, 1, torus=False).norm().data
        torch.testing.assert_close(found, torch.full((2, 2), norm))
        slope = torch.autograd.grad(found.sum(), data, create_graph=True)[0]
        assert bool(slope.isfinite().all())
        if 0 < norm < 1 < 1e40 * norm:
            torch.testing.assert_close(slope, data.detach() / norm)
        if norm == 0:
            assert torch.equal(torch.autograd.grad(slope.square().sum(), data)[0], torch.zeros(2, 2, 2))
    complex_image = GeometricImage(torch.tensor([3j, 4.0 + 0j]).expand(2, 2, 2), 2, 1, torus=False)
    torch.testing.assert_close(complex_image.norm().data, torch.full((2, 2), 5.0))
