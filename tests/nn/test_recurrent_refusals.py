"""What a recurrent net and its cell refuse, and what they say then."""

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnet.errors import ConfigError, GraphError, ShapeError
from gnet.groups import SymmetricGroup
from gnet.nn.recurrent import DiffusionGRUCell, GNetGRU
from tests.nn.test_recurrent import RING, THREE, net


def cell(x: Tensor, h: Tensor) -> Tensor:
    return DiffusionGRUCell(THREE, 2, 4, RING)(x, h)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: net(SymmetricGroup(5)), ConfigError, "expected a graph of 5 nodes, as the group has, got 6"),
        (lambda: net(THREE, num_steps=-1), ConfigError, "expected num_steps to be a whole number >= 0, got -1"),
        (lambda: net(THREE, num_layers=0), ConfigError, "expected num_layers to be a whole number >= 1, got 0"),
        (lambda: net(THREE, sampling_decay=0.0), ConfigError, r"expected sampling_decay > 0, or None, got 0\.0"),
        (lambda: net(THREE, Data(num_nodes=6)), GraphError, "edge_index"),
        (
            lambda: net(THREE, data=None),
            ConfigError,
            r"the graph as edge_index=data\.edge_index .*, or as data=data, got neither",
        ),
        (lambda: net(THREE, edge_index=RING.edge_index), ConfigError, "got both"),
        (lambda: net(THREE)(torch.zeros(13, 6)), ShapeError, r"flat \(B \* 6, C\), got \(13, 6\): 13 is no multiple of 6 nodes"),
        (
            lambda: net(THREE)(torch.zeros(5, 3, 6, 2)),
            ShapeError,
            r"got \(5, 3, 6, 2\); the steps belong in the channels: x\.transpose\(-3, -2\)\.flatten\(-2\)",
        ),
        (lambda: net(THREE)(RING), ShapeError, r"got a Data, which is no tensor; give its signals, data\.x"),
        (
            lambda: net(THREE)(torch.zeros(6, 6), RING.edge_index),
            ConfigError,
            r"fixed when the net is made .* call net\(x\) alone",
        ),
        (lambda: net(THREE)(torch.zeros(6, 6), edge_index=RING.edge_index), ConfigError, "call net"),
        (lambda: net(THREE)(torch.zeros(6, 5)), ShapeError, r"expected x of shape \(\*, 6, 6\), got \(6, 5\)"),
        (
            lambda: net(THREE)(torch.zeros(6, 6), torch.zeros(6, 3)),
            ShapeError,
            r"expected truth of shape \(\*, 6, 2\), got \(6, 3\)",
        ),
        (lambda: net(THREE)(torch.zeros(6, 6).double()), ShapeError, r"expected x of dtype torch\.float32, got torch\.float64"),
        (
            lambda: net(THREE, edge_weight=torch.ones(12)),
            ConfigError,
            r"would not be read: set data\.edge_weight, or give edge_index=",
        ),
        (lambda: net(THREE, horizon_in=3.0), ConfigError, r"expected horizon_in to be a whole number >= 1, got 3\.0"),
        (lambda: net(THREE, horizon_in=True), ConfigError, "expected horizon_in to be a whole number >= 1, got True"),
        (lambda: net(THREE, num_steps=1.5), ConfigError, r"expected num_steps to be a whole number >= 0, got 1\.5"),
        (lambda: net(THREE, sampling_decay="9"), ConfigError, "expected sampling_decay > 0, or None, got '9'"),
        (
            lambda: GNetGRU(THREE, 2, 0, 1, horizon_in=1, horizon_out=1, data=RING),
            ConfigError,
            "expected hidden_channels to be a whole number >= 1, got 0",
        ),
        (
            lambda: cell(torch.zeros(5, 3, 2), torch.zeros(5, 3, 4)),
            ShapeError,
            r"x of shape \(6, B, 2\) and h of shape \(6, B, 4\)",
        ),
        (lambda: cell(torch.zeros(6, 3, 2), torch.zeros(6, 2, 4)), ShapeError, r"got \(6, 3, 2\) and \(6, 2, 4\)"),
        (lambda: cell(torch.zeros(6, 2), torch.zeros(6, 4)), ShapeError, r"nodes first, got \(6, 2\) and \(6, 4\)"),
        (
            lambda: cell(torch.zeros(6, 3, 2).long(), torch.zeros(6, 3, 4)),
            ShapeError,
            r"expected x of dtype torch\.float32, got torch\.int64",
        ),
        (
            lambda: cell(torch.zeros(6, 3, 2), torch.zeros(6, 3, 4).double()),
            ShapeError,
            r"expected h of dtype torch\.float32, got torch\.float64; convert h",
        ),
    ],
)
def test_impossible_forecasts_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("decay", [1e12, 1e-3, None], ids=["always shown", "never shown", "no sampling"])
@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (torch.zeros(4, 6, 2).double(), r"expected truth of dtype torch\.float32, got torch\.float64; convert truth"),
        (torch.zeros(2, 6, 2), r"expected the truth of the windows of x, \(4, 6, 2\), got \(2, 6, 2\)"),
        (torch.zeros(6, 2), r"expected the truth of the windows of x, \(4, 6, 2\), got \(6, 2\)"),
    ],
    ids=["dtype", "batch", "one window"],
)
def test_a_wrong_truth_is_refused_whatever_the_coins_say(truth, message, decay, is_training):
    layers = net(THREE, sampling_decay=decay).train(is_training)
    layers.batches_seen.fill_(1)
    with pytest.raises(ShapeError, match=message):
        layers(torch.zeros(4, 6, 6), truth)
