"""What a layer is stands in its state; what is made in one mode of gradients, or cast, serves every other."""

import pickle

import pytest
import torch
from torch import nn

from gnet.plugins.pendulum import field_of
from gnet.plugins.tensors import EMLP, Bilinear, O, RepLinear, T, uniform_rep


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


NETS = {
    "Bilinear": lambda seed: (Bilinear(8 * T(0) + 8 * T(1), O(3), generator=seeded(seed)), 32),
    "EMLP": lambda seed: (EMLP(4 * T(1), T(0), O(3), ch=64, layers=2, generator=seeded(seed)), 12),
    "HNN": lambda seed: (field_of("hnn", "O(2)", ch=64, generator=seeded(seed)), 12),
    "N-ODE": lambda seed: (field_of("node", "O(2)", ch=64, generator=seeded(seed)), 12),
}


@pytest.mark.parametrize("name", NETS)
def test_a_loaded_net_is_the_net_that_was_saved(name, rng):
    (saved, size), (other, _) = NETS[name](0), NETS[name](1)
    x = torch.randn(5, size, generator=rng)
    assert not torch.equal(saved(x), other(x))
    other.load_state_dict(saved.state_dict())
    assert torch.equal(saved(x), other(x))


def test_weights_alone_are_not_the_net(rng):
    """The liar: with other copies as maps the same weights are another function."""
    saved, other = (Bilinear(8 * T(0) + 8 * T(1), O(3), generator=seeded(seed)) for seed in (0, 1))
    other.load_state_dict(dict(saved.named_parameters()), strict=False)
    x = torch.randn(5, 32, generator=rng)
    assert not torch.allclose(saved(x), other(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RepLinear(2 * T(1), T(0) + T(1), O(3)),
        lambda: EMLP(2 * T(1), T(0), O(3), ch=20, layers=1),
    ],
    ids=["RepLinear", "EMLP"],
)
def test_a_net_called_in_inference_mode_can_be_trained(make, rng):
    net, x = make(), torch.randn(4, 6, generator=rng)
    with torch.inference_mode():
        net(x)
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


class CastOnce(RepLinear):
    """A liar: keeps the tensors of inference mode."""

    _kept = None

    def dense(self):
        self._kept = super().dense() if self._kept is None else self._kept
        return self._kept


def test_tensors_of_inference_mode_that_stay_are_found(rng):
    layer, x = CastOnce(2 * T(1), T(0) + T(1), O(3)), torch.randn(4, 6, generator=rng)
    with torch.inference_mode():
        layer(x)
    with pytest.raises(RuntimeError, match="nference tensor"):
        layer(x.requires_grad_()).sum().backward()


def test_copies_of_bases_are_not_pickled(rng):
    layer = RepLinear(uniform_rep(20, O(3)), T(2), O(3))
    before = len(pickle.dumps(layer.maps))
    layer(torch.randn(2, 20, generator=rng))
    assert len(layer.maps._cast) > 0
    assert len(pickle.dumps(layer.maps)) == before
    loaded = pickle.loads(pickle.dumps(layer))
    x = torch.randn(2, 20, generator=rng)
    assert torch.equal(loaded(x), layer(x))
    assert isinstance(loaded, nn.Module)
