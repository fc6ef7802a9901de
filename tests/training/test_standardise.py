"""The standardiser: units there and back, missing entries, and the symmetry it has to keep."""

import copy
import pickle

import pytest
import torch
from torch import Tensor

from gnet.errors import DataError, ShapeError
from gnet.training.standardise import Scaling, Standardiser


class PerNode:
    """The liar: a mean and a std for every node, which tells the nodes apart."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std

    @classmethod
    def fit(cls, x: Tensor) -> "PerNode":
        return cls(x.mean(0), x.std(0, correction=0))

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def commutes_with_permutations(kind: type, x: Tensor, perm: Tensor) -> bool:
    """Fitted on the data at hand, it treats permuted signals as it treats the signals."""
    standardiser = kind.fit(x)
    return torch.allclose(standardiser(x[:, perm]), standardiser(x)[:, perm])


def refits_to_itself(kind: type, x: Tensor, perm: Tensor) -> bool:
    first, second = kind.fit(x), kind.fit(x[:, perm])
    return torch.allclose(first.mean, second.mean) and torch.allclose(first.std, second.std)


@pytest.fixture
def x(rng):
    """Nodes with very different levels, as sensors have."""
    return torch.randn(7, 5, 2, generator=rng).double() + 3 * torch.arange(5.0).double()[:, None]


@pytest.mark.parametrize("law", [commutes_with_permutations, refits_to_itself])
def test_commutes_with_every_permutation_of_the_nodes(x, law):
    perm = torch.tensor([2, 0, 1, 4, 3])
    assert law(Standardiser, x, perm)
    assert not law(PerNode, x, perm)


def test_there_and_back(x):
    standardiser = Standardiser.fit(x)
    z = standardiser(x)
    torch.testing.assert_close(standardiser.inverse(z), x)
    torch.testing.assert_close(z.mean((0, 1)), torch.zeros(2).double())
    torch.testing.assert_close(z.reshape(-1, 2).std(0, correction=0), torch.ones(2).double())


def test_missing_entries_neither_count_nor_come_out_as_anything_but_the_mean(x):
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.6
    holes = x.masked_fill(~mask, float("nan"))
    for standardiser in (Standardiser.fit(holes), Standardiser.fit(x.masked_fill(~mask, 1e6), mask)):
        torch.testing.assert_close(standardiser.mean[1], x[..., 1][mask[..., 1]].mean())
        assert standardiser(holes).isnan().equal(~mask)
        assert standardiser.filled(holes)[~mask].eq(0).all()


def test_a_constant_channel_becomes_zero_and_comes_back():
    x = torch.full((4, 3, 1), 0.1)
    standardiser = Standardiser.fit(x)
    assert standardiser.std.tolist() == [1.0]
    assert standardiser(x).abs().max() < 1e-6
    torch.testing.assert_close(standardiser.inverse(standardiser(x)), x)


def test_a_large_mean_does_not_swallow_the_deviation():
    x = (1e7 + torch.tensor([-1.0, 1.0]).double()).reshape(2, 1, 1)
    assert Standardiser.fit(x).std.item() == pytest.approx(1.0)


def test_errors():
    x = torch.ones(3, 2, 2)
    x[..., 1] = float("nan")
    with pytest.raises(DataError, match=r"channels \[1\] have no observed entry"):
        Standardiser.fit(x)
    with pytest.raises(ShapeError, match=r"expected a mask of shape \(3, 2, 2\), got \(3, 2\)"):
        Standardiser.fit(x, torch.ones(3, 2, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"expected \(\*, 2\) with the channels last, got \(3, 1\)"):
        Standardiser.identity(2)(torch.ones(3, 1))
    with pytest.raises(DataError, match="expected finite means"):
        Standardiser([float("nan")], [1.0])
    with pytest.raises(ShapeError, match=r"shape \(C,\)"):
        Standardiser([0.0], [1.0, 1.0])


def test_state_round_trips(x):
    scaling = Scaling(Standardiser.fit(x), Standardiser.identity(3, torch.float64))
    for other in (copy.deepcopy(scaling), pickle.loads(pickle.dumps(scaling))):
        assert torch.equal(other.x(x), scaling.x(x))
    fresh = Scaling.identity(2, 3, torch.float64)
    fresh.load_state_dict(scaling.state_dict(), strict=True)
    assert torch.equal(fresh.x(x), scaling.x(x))
