"""Products row by row: zeros, infinities, signs, dtypes and checkpoints, each against brute force."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from gnet.errors import CheckpointError, DegenerateInputError, UnitsError
from gnet.plugins.units import Products, UnitsEquivariant, VectorUnitsEquivariant, rescale

RADIANCE = [[-4, 1, 1, 1]]


def brute(x, exponents):
    return (x[..., None, :] ** torch.tensor(exponents, dtype=x.dtype)).prod(-1)


def test_a_zero_stays_in_its_row():
    x = torch.tensor([[1e-10, 300.0, 3e8, 1.38e-23], [1.0, 0.0, 3e8, 1.38e-23]])
    found = Products(RADIANCE)(x)
    torch.testing.assert_close(found[0], brute(x[0].double(), RADIANCE).float(), rtol=1e-5, atol=0.0)
    assert float(found[1]) == 0
    assert not brute(x, RADIANCE)[0].isfinite()  # the liar: powers in float32 overflow on their way


def test_values_and_slopes_with_zeros_and_signs(rng):
    exponents = [[2, 1, 0], [1, 1, 1], [3, 0, 2], [0, 0, 0]]
    x = torch.randn(40, 3, dtype=torch.float64, generator=rng)
    x[torch.rand(40, 3, generator=rng) < 0.3] = 0.0
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.randn(40, 4, dtype=torch.float64, generator=rng)
    found, expected = Products(exponents)(ours), brute(theirs, exponents)
    torch.testing.assert_close(found, expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_what_a_product_does_not_use_may_be_infinite():
    x = torch.tensor([[2.0, float("inf")], [3.0, float("nan")], [4.0, 1.0]])
    found = Products([[1, 0], [1, -1]])
    torch.testing.assert_close(found(x)[:, 0], torch.tensor([2.0, 3.0, 4.0]))
    assert float(found(x)[0, 1]) == 0 and bool(found(x)[1, 1].isnan())
    torch.testing.assert_close(found.logarithms(x)[:, 0], torch.tensor([2.0, 3.0, 4.0]).log())


def test_whole_numbers_become_floats():
    torch.testing.assert_close(Products([[1, -2]])(torch.tensor([[3, 2]])), torch.tensor([[0.75]]))
    assert Products([[1, -2]]).features(torch.tensor([[3, 2]]), signs=True).tolist() == [[0.75, 1.0, 1.0]]
    torch.testing.assert_close(rescale(torch.tensor([[3]]), [[1]], torch.tensor([100.0])), torch.tensor([[300.0]]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_the_result_alone(dtype):
    x = torch.tensor([[5e-7, 5772.0, 3e4, 4.0]]).to(dtype)
    exponents = [[1, 2, -1, 1]]
    exact = brute(x.double(), exponents)
    found = Products(exponents).to(dtype)(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(Products(exponents)(x.float()).double(), exact, rtol=1e-5, atol=0.0)
        torch.testing.assert_close(Products(exponents).logarithms(x.float()).double(), exact.log(), rtol=1e-5, atol=1e-6)


def test_exponents_stay_exact_and_out_of_the_dtype():
    third = UnitsEquivariant(nn.Linear(1, 1), [[3, 0], [0, 1], [0, 1]], (1, 0), rational=True)
    for cast in (third.bfloat16(), deepcopy(third), third.float(), third.double()):
        assert float(cast.scalings[0, 0, 0]) == 1 / 3
        assert cast.scalings.dtype == torch.float64


ENERGIES = [[1, 0], [1, 0], [0, 1]], (1, 1)
OTHERS = [[1, 0], [0, 1], [0, 1]], (1, 1)


def test_checkpoints_of_other_units_are_refused(tmp_path):
    saved, same, other = (UnitsEquivariant(nn.Linear(1, 1), *units) for units in (ENERGIES, ENERGIES, OTHERS))
    torch.save(saved.state_dict(), tmp_path / "net.pt")
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    same.load_state_dict(state)
    x = torch.rand(5, 3) + 0.5
    torch.testing.assert_close(same(x), saved(x))
    with pytest.raises(CheckpointError, match="other units"):
        other.load_state_dict(state)
    half = deepcopy(saved).bfloat16().state_dict()
    deepcopy(same).bfloat16().load_state_dict(half)


def test_checkpoints_of_before_load_or_are_refused():
    saved, other = UnitsEquivariant(nn.Linear(1, 1), *ENERGIES), UnitsEquivariant(nn.Linear(1, 1), *OTHERS)
    old = {name: value for name, value in saved.state_dict().items() if not name.endswith("_extra_state")}
    old |= {f"{name}.exponents": getattr(saved, name).exponents.bfloat16() for name in ("products", "scales")}
    UnitsEquivariant(nn.Linear(1, 1), *ENERGIES).load_state_dict(old)
    assert "products.exponents" in old  # the caller's own is left as it was
    with pytest.raises(CheckpointError, match="other units"):
        other.load_state_dict(old)


def test_rational_scalings_of_vectors():
    length, gravity = [[0, 1, 0]], [[0, 1, -2]]  # a vector of lengths, a number: a time is (l / g)^(1/2)
    with pytest.raises(UnitsError, match="rational=True"):
        VectorUnitsEquivariant(nn.Identity(), length, gravity, out_units=(0, 0, 1))
    model = VectorUnitsEquivariant(nn.Identity(), length, gravity, out_units=(0, 0, 1), rational=True)
    assert model.scales.exponents.tolist() == [[-0.5, 0.5]]


def test_refusals_name_the_input():
    with pytest.raises(DegenerateInputError, match="input 1"):
        Products([[1, -1]])(torch.tensor([[1.0, 2.0], [1.0, 0.0]]))
    with pytest.raises(DegenerateInputError, match="fractional exponent, got one in input 0"):
        Products([[0.5, 1]])(torch.tensor([[-1.0, 2.0]]))
