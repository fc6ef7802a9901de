"""Blocks: what each part does, in which order, and which settings are refused."""

import pytest
import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, GnetError
from gnet.groups import SymmetricGroup
from gnet.nn import Block, EquivariantLinear, NodeBatchNorm
from gnet.nn.blocks import ACTIVATIONS, make_norm


class Record(nn.Module):
    """Adds one to a list of calls and returns what it got."""

    def __init__(self, name: str, calls: list[str]) -> None:
        super().__init__()
        self.name, self.calls = name, calls

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(self.name)
        return x


def test_parts_run_in_their_order():
    calls: list[str] = []
    block = Block(Record("linear", calls), Record("propagate", calls), Record("norm", calls), act="relu")
    x = torch.tensor([[-1.0], [2.0]])
    assert block(x).tolist() == [[0], [2]]
    assert calls == ["linear", "propagate", "norm"]


def test_only_the_linear_part_is_needed(rng):
    linear = EquivariantLinear(SymmetricGroup(3), 2, 4, generator=rng)
    x = torch.randn(5, 3, 2, generator=rng)
    assert torch.equal(Block(linear)(x), linear(x))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_activations_are_pointwise(act, rng):
    x = torch.randn(4, 3, 2, dtype=torch.float64, generator=rng)
    y = Block(nn.Identity(), act=act)(x)
    single = torch.stack([Block(nn.Identity(), act=act)(value) for value in x.flatten()]).reshape(x.shape)
    torch.testing.assert_close(y, single)
    assert not torch.equal(y, x)


def test_residual_adds_the_input(rng):
    x = torch.randn(4, 3, 2, generator=rng)
    assert torch.equal(Block(nn.Identity(), act="relu", residual=True)(x), x + torch.relu(x))


def test_a_residual_that_changes_channels_is_refused():
    with pytest.raises(GnetError, match=r"a residual block keeps its shape, got \(2, 3, 1\) -> \(2, 3, 4\)"):
        Block(nn.Linear(1, 4), residual=True)(torch.zeros(2, 3, 1))


def test_dropout_acts_in_training_only():
    x = torch.ones(50, 20, 10)
    block = Block(nn.Identity(), dropout=0.25)
    dropped = block(x)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.unique(dropped).tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(block.eval()(x), x)


def test_batch_norm_pools_batch_and_nodes(rng):
    x = 3 + 2 * torch.randn(2, 4, 5, 3, generator=rng)
    y = NodeBatchNorm(3)(x)
    flat = y.reshape(-1, 3)
    torch.testing.assert_close(flat.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(flat.var(0, unbiased=False), torch.ones(3), atol=1e-3, rtol=0)
    assert sum(p.numel() for p in NodeBatchNorm(3).parameters()) == 2 * 3  # per channel, none per node


def test_batch_norm_uses_running_statistics_in_eval_mode(rng):
    norm = NodeBatchNorm(2)
    for _ in range(200):
        norm(5 + torch.randn(8, 4, 2, generator=rng))
    at_mean = norm.eval()(torch.full((1, 4, 2), 5.0))
    assert float(at_mean.detach().abs().max()) < 0.2


def test_norms_by_name():
    assert make_norm(None, 3) is None
    assert isinstance(make_norm("batch", 3), NodeBatchNorm)
    assert make_norm("layer", 3).normalized_shape == (3,)
    with pytest.raises(ConfigError, match="expected norm 'batch', 'layer' or None, got 'instance'"):
        make_norm("instance", 3)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2.0])
def test_dropout_outside_its_range_is_refused(dropout):
    with pytest.raises(ConfigError, match=r"expected dropout in \[0, 1\), got"):
        Block(nn.Identity(), dropout=dropout)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ConfigError, match=r"expected act in \['elu', .*'tanh'\] or None, got 'rleu'"):
        Block(nn.Identity(), act="rleu")


def test_repr_shows_the_parts_that_are_no_modules():
    text = repr(Block(nn.Identity(), act="relu", dropout=0.5, residual=True))
    assert "act=relu, dropout=0.5, residual" in text
