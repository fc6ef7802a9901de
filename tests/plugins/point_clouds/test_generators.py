"""Generators of the field of invariants: check values, their Jacobian over the rationals, the way back to the cloud."""

from math import comb, prod

import pytest
import torch
from sympy import ZZ
from sympy.polys.matrices import DomainMatrix

from gnet.errors import DegenerateInputError, ShapeError
from gnet.plugins.point_clouds import FieldGenerators, field_generators, gram_from_generators

MEDIANS = {(4, 2): 4e-13, (5, 3): 7e-11, (8, 3): 8e-7}


def test_check_values():
    powers, moments = field_generators(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64))
    assert powers.tolist() == [7, 21, 73]
    assert moments.tolist() == [[13, 36, 118], [36, 109, 375]]


class Dual:
    """a + b eps with eps^2 = 0: b is an exact derivative where a and b are integers."""

    def __init__(self, value: int, slope: int = 0) -> None:
        self.value, self.slope = value, slope

    def __add__(self, other: "Dual | int") -> "Dual":
        other = other if isinstance(other, Dual) else Dual(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    __radd__ = __add__

    def __mul__(self, other: "Dual | int") -> "Dual":
        other = other if isinstance(other, Dual) else Dual(other)
        return Dual(self.value * other.value, self.value * other.slope + self.slope * other.value)

    __rmul__ = __mul__


def definition(v: list[list], with_moments: bool = True) -> list:
    """The generators once more, written down as they are defined, for any kind of numbers."""
    n, d = len(v), len(v[0])
    r = [sum(x * x for x in row) for row in v]
    power = [[prod([r[i]] * k, start=1) for i in range(n)] for k in range(n + 1)]
    powers = [sum(power[k]) for k in range(1, n + 1)]
    m = [[sum(power[j][i] * v[i][a] for i in range(n)) for a in range(d)] for j in range(d)]
    moments = [sum(power[k][i] * v[i][a] * each[a] for i in range(n) for a in range(d)) for each in m for k in range(n)]
    return powers + (moments if with_moments else [])


PLACE = [3, 1, -2, 5, 7, 2, -4, 11, 6, -1, 9, 4, 8, -3, 13]


def jacobian_rank(n: int, d: int, with_moments: bool = True) -> int:
    columns = []
    for varied in range(n * d):
        v = [[Dual(PLACE[i * d + a], int(i * d + a == varied)) for a in range(d)] for i in range(n)]
        columns.append([each.slope for each in definition(v, with_moments)])
    return DomainMatrix(columns, (n * d, len(columns[0])), ZZ).to_field().rank()


@pytest.mark.parametrize(("n", "d", "rank"), [(3, 2, 5), (4, 2, 7), (4, 3, 9), (5, 3, 12)])
def test_the_jacobian_has_the_rank_of_the_quotient(n, d, rank):
    assert jacobian_rank(n, d) == rank == n * d - comb(d, 2)


def test_lengths_alone_are_too_few():
    assert jacobian_rank(4, 2, with_moments=False) == 4 < 7


@pytest.mark.parametrize(("n", "d"), [(3, 2), (5, 3)])
def test_the_function_is_its_definition(n, d):
    v = [PLACE[i * d : i * d + d] for i in range(n)]
    found = field_generators(torch.tensor(v, dtype=torch.float64) / 8)
    expected = definition([[x / 8 for x in row] for row in v])
    assert len(expected) == n * (d + 1)
    torch.testing.assert_close(torch.cat([found.powers, found.moments.flatten()]).tolist(), expected, rtol=1e-13, atol=0.0)


@pytest.mark.parametrize(("n", "d"), MEDIANS)
def test_the_gram_matrix_comes_back(n, d):
    clouds = torch.randn(200, n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = []
    for V in clouds:
        ordered = V[V.norm(dim=1).argsort()]
        gram = ordered @ ordered.mT
        errors.append(float((gram_from_generators(field_generators(V)) - gram).norm() / gram.norm()))
    assert float(torch.tensor(errors).median()) < 10 * MEDIANS[n, d]
    assert max(errors) > 1000 * float(torch.tensor(errors).median())


def test_no_gradient_is_better_than_a_wrong_one():
    V = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    assert field_generators(V).moments.requires_grad
    assert not gram_from_generators(field_generators(V)).requires_grad


def test_moments_of_another_cloud_give_another_matrix():
    one, other = torch.randn(2, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lying = FieldGenerators(field_generators(one).powers, field_generators(other).moments)
    ordered = one[one.norm(dim=1).argsort()]
    assert float((gram_from_generators(lying) - ordered @ ordered.mT).norm()) > 0.1


def test_what_has_no_generators_or_no_way_back():
    for shape, dtype in [((9, 2), torch.float64), ((2, 3), torch.float64), ((4, 2), torch.float32)]:
        with pytest.raises(ShapeError, match=r"float64 with d <= n <= 8"):
            field_generators(torch.randn(shape, dtype=dtype))
    same_length = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
    with pytest.raises(DegenerateInputError, match="equally long"):
        gram_from_generators(field_generators(same_length))
    on_a_line = torch.tensor([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    with pytest.raises(DegenerateInputError, match="dependent"):
        gram_from_generators(field_generators(on_a_line))
    with pytest.raises(ShapeError, match=r"got \(2, 3\) and \(2, 2, 3\)"):
        gram_from_generators(field_generators(same_length.expand(2, 3, 2)))
