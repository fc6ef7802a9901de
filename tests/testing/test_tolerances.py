"""Closeness in laws: relative to the larger norm, by dtype; NaN and other shapes are never close."""

import pytest
import torch

from gnet.testing import LawBroken, tolerance
from gnet.testing.tolerances import require_close


def test_coarser_types_have_coarser_tolerances():
    values = [tolerance(dtype) for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)]
    assert values == sorted(values)
    assert len(set(values)) == 4
    assert tolerance(torch.int64) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_close_tensors_pass_and_others_raise(dtype):
    x = torch.full((5,), 1e6, dtype=dtype)
    require_close("law", x * (1 + tolerance(dtype) / 2), x)
    with pytest.raises(LawBroken, match=r"law: relative error .*, tolerance"):
        require_close("law", x * (1 + 3 * tolerance(dtype)), x)


def test_scale_widens_the_tolerance():
    x = torch.ones(3, dtype=torch.float64)
    require_close("law", x * (1 + 5e-10), x, scale=10)
    with pytest.raises(LawBroken, match="tolerance 1e-10"):
        require_close("law", x * (1 + 5e-10), x)


def test_zeros_are_close_to_zeros_alone():
    require_close("law", torch.zeros(3), torch.zeros(3))
    with pytest.raises(LawBroken, match="relative error 1, tolerance"):
        require_close("law", torch.zeros(3), torch.full((3,), 1e-30))


def test_nan_is_close_to_nothing():
    nan = torch.tensor([float("nan")])
    for got, expected in [(nan, torch.ones(1)), (torch.ones(1), nan), (nan, nan)]:
        with pytest.raises(LawBroken, match="relative error nan"):
            require_close("law", got, expected)


def test_shapes_are_compared_and_not_broadcast():
    with pytest.raises(LawBroken, match=r"law: shapes \(3,\) and \(1, 3\) differ"):
        require_close("law", torch.ones(3), torch.ones(1, 3))


def test_integers_are_compared_exactly():
    require_close("law", torch.arange(3), torch.arange(3))
    with pytest.raises(LawBroken, match="law: 2 of 3 entries differ"):
        require_close("law", torch.tensor([0, 2, 1]), torch.arange(3))
