"""Nets spread over processes, with clusters cut anywhere: outputs, gradients and steps are those of the whole net."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from gnet.distributed import ShardedGNet
from tests.distributed.nets import CASES, build, peak, refusal, train_sharded, train_whole
from tests.distributed.team import Team

TOLERANCE = 1e-12
"""Of the largest entry of a tensor, or of one: sums over processes have another order."""


def assert_same(whole: dict[str, Any], found: dict[str, Any]) -> None:
    flat = {name: {"": whole[name]} for name in ("output", "x", "after")} | {name: whole[name] for name in ("grads", "state")}
    assert found["loss"] == pytest.approx(whole["loss"], rel=TOLERANCE)
    for name, tensors in flat.items():
        others = found[name] if name in ("grads", "state") else {"": found[name]}
        assert others.keys() == tensors.keys()
        for key, value in tensors.items():
            atol = TOLERANCE * max(1.0, float(value.abs().max()) if value.numel() else 0.0)
            text = f"{name} {key}"
            torch.testing.assert_close(others[key], value, rtol=0.0, atol=atol, msg=lambda why, text=text: f"{text}: {why}")


@pytest.mark.parametrize("case", CASES)
def test_two_processes_hold_one_net(two: Team, case: str):
    whole = train_whole(case)
    for found in two.run(train_sharded, case):
        assert_same(whole, found)


@pytest.mark.parametrize("case", ["plain", "edge weights", "invariant", "large"])
def test_four_processes_hold_one_net(four: Team, case: str):
    whole = train_whole(case)
    for found in four.run(train_sharded, case):
        assert_same(whole, found)


@pytest.mark.parametrize(("case", "lie"), [("plain", "sums"), ("graph", "halo")])
def test_a_layer_that_forgets_the_others_is_caught(two: Team, case: str, lie: str):
    whole, lying = train_whole(case), two.run(train_sharded, case, lie)
    with pytest.raises(AssertionError):
        assert_same(whole, lying[0])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("grid", "ConfigError: blocks.0.linear is EquivariantLinear, which cannot be spread over processes"),
        ("relaxed", "ConfigError: blocks.0.linear is RelaxedLinear, which cannot be spread"),
        ("pointwise", "ConfigError: blocks.0.linear is PointwiseLinear, which cannot be spread"),
        ("idle", r"ConfigError: expected every process to hold a node, got none for \[1\]"),
        ("stranger", r"ConfigError: expected owners in 0..1, got 5..5"),
        ("short", r"ShapeError: expected the process of each of 11 nodes, got owners of shape \(3,\)"),
        ("signals of all nodes", r"ShapeError: expected x of shape \(\*, [56], 1\), got \(2, 11, 1\)"),
    ],
)
def test_what_cannot_be_spread_is_named(two: Team, kind: str, message: str):
    for found in two.run(refusal, kind):
        assert re.match(message, found), found


def test_one_process_holds_all_and_the_trained_net_is_whole_again():
    net = build("edge weights")
    sharded = ShardedGNet(net)
    x = torch.randn(3, 11, 2, dtype=torch.float64)
    torch.testing.assert_close(sharded(sharded.part(x)), net(x))
    assert sharded.num_parameters == net.num_parameters
    with torch.no_grad():
        for parameter in sharded.parameters():
            parameter.mul_(1.5)
    net.load_state_dict(sharded.state_dict())
    torch.testing.assert_close(sharded.eval()(x), net.eval()(x))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux's /proc")
def test_half_of_the_nodes_take_about_half_of_the_memory():
    alone, together = Team(1), Team(2)
    try:
        (whole,) = alone.run(peak, False)
        parts = together.run(peak, True)
    finally:
        alone.stop()
        together.stop()
    assert whole > 200e6
    assert max(parts) < 0.6 * whole
