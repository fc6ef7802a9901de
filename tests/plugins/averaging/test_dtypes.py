"""Averages of whole numbers, in half precision, after casts, of no items, and from a file."""

import io
import pickle

import pytest
import torch
from torch import nn

from gnet.groups import SymmetricGroup
from gnet.plugins.averaging import Averaged, frames
from gnet.plugins.tensors import SO, B, D, O, S, T, Z, regular

HALVES = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("outputs", [torch.Tensor.long, torch.Tensor.bool, torch.Tensor.double])
@pytest.mark.parametrize("settings", [{"mode": "exact", "group": B(2)}, {"mode": "frame", "group": O(2)}], ids=["exact", "frame"])
def test_whole_numbers_have_an_average(settings, outputs, rng):
    """The share of moved inputs whose first entry is above zero is a half, and is not cut off to 0."""
    x = torch.randn(4, 5, 2, dtype=torch.float64, generator=rng)
    found = Averaged(lambda x: outputs((x[:, 0, 0] > 0).long()), **settings)(x)
    assert found.is_floating_point()
    assert found.tolist() == [0.5] * 4


def test_whole_numbers_are_moved():
    x = torch.tensor([[1, 2, 3]])
    assert float(Averaged(lambda x: x[:, 0] * x[:, 1] ** 2, Z(3))(x)) == pytest.approx(25 / 3)
    squares = Averaged(lambda x: x[:, 0] ** 2, SO(2), mode="quadrature", degree=2)
    assert float(squares(torch.tensor([[3, 4]]))) == pytest.approx(12.5)
    drawn = Averaged(lambda x: (x[:, 0] > 0).long(), SO(3), mode="sample", n_samples=64)
    assert 0 < float(drawn(torch.tensor([[1.0, 2.0, 3.0]]))) < 1
    assert drawn.last_stderr.is_floating_point()


def test_permuted_words_stay_words():
    """What an embedding looks up is moved as it is."""
    words = torch.tensor([[[0], [3], [1]]])
    table = nn.Embedding(4, 1)
    found = Averaged(lambda x: table(x[:, 0, 0]), SymmetricGroup(3))(words)
    torch.testing.assert_close(found, table(words[:, :, 0]).mean(1))


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision(dtype, rng):
    """Shares of half precision do not add up to one, and there is no inverse."""
    constant = Averaged(lambda x: 0 * x[:, 0] + 1, S(4)).to(dtype)
    assert constant(torch.zeros(1, 4, dtype=dtype)).item() == 1.0
    d3 = D(3)
    for group, rep, size in ((B(3), B(3).action, 3), (B(3), T(0, 1), 3), (d3, regular(d3), 6)):
        exact = Averaged(nn.Linear(group.dim, size), group, rep_out=rep)
        x = torch.randn(5, group.dim, generator=rng)
        expected = exact(x).detach()
        found = exact.to(dtype)(x.to(dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found.detach().float(), expected, atol=0.1, rtol=0.1)
    cloud = torch.randn(4, 6, 3, generator=rng).to(dtype)
    assert Averaged(lambda x: x.flatten(1).sum(1), O(3), mode="frame")(cloud).dtype == dtype
    assert frames.gram_schmidt(cloud).shape == (4, 1, 3, 3)


def squares() -> Averaged:
    """Of one coordinate: on average a third of the square of the length."""
    return Averaged(lambda x: x[:, 0] ** 2, SO(3), mode="quadrature", degree=2)


def test_casts_take_nothing_from_the_elements(rng):
    averaged = squares()
    x = torch.randn(4, 3, dtype=torch.float64, generator=rng)
    for cast in (averaged.float().double(), averaged.half().double(), averaged.bfloat16()):
        assert cast.elements.dtype == cast.weights.dtype == torch.float64
        torch.testing.assert_close(cast(x), x.square().sum(1) / 3, rtol=1e-12, atol=0.0)
    assert averaged.to("meta").elements.is_meta


def test_elements_of_single_precision_would_show(rng):
    """The liar."""
    averaged = squares()
    averaged.elements = averaged.elements.float().double()
    x = torch.randn(4, 3, dtype=torch.float64, generator=rng)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(averaged(x), x.square().sum(1) / 3, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "exact", "group": B(3)},
        {"mode": "sample", "group": O(3)},
        {"mode": "frame", "group": O(3)},
        {"mode": "frame", "group": SO(3)},
    ],
)
def test_no_items(settings):
    x = torch.zeros(0, 6, 3)
    assert Averaged(lambda x: x.flatten(1).sum(1), **settings)(x).shape == (0,)
    assert Averaged(lambda x: x[:, 0], rep_out=T(1), **settings)(x).shape == (0, 3)
    assert frames.pca(x, special=True).shape == (0, 4, 3, 3)


def test_frames_are_saved(rng):
    framed = Averaged(nn.Sequential(nn.Flatten(), nn.Linear(18, 1)), SO(3), mode="frame")
    torch.save(framed, io.BytesIO())
    x = torch.randn(2, 6, 3, generator=rng)
    assert torch.equal(pickle.loads(pickle.dumps(framed))(x), framed(x))
