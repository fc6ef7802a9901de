"""Layers near a group under the transformations that torch offers, by the tests of all layers."""

import pytest
import torch
from torch import nn

from tests.nn import test_transforms
from tests.nn.relaxed.cases import LAYERS
from tests.nn.test_transforms import (  # noqa: F401  (collected here, with the fixture below)
    test_autocast_with_bfloat16_input,
    test_copies,
    test_export,
    test_gradcheck_and_gradgradcheck,
    test_vmap_over_signals,
    test_vmap_over_weights,
)


@pytest.fixture(params=["identifiable with swaps", "mixing", "low rank", "chain with fixed gates", "sum with swaps", "soft"])
def module(request: pytest.FixtureRequest) -> nn.Module:
    return LAYERS[request.param]()


@pytest.mark.parametrize("name", ["chain with fixed gates", "soft"])  # one that sums over blocks, and one of its own kind
def test_compile_in_one_graph_with_gradients(name: str, rng: torch.Generator) -> None:
    test_transforms.test_compile_in_one_graph_with_gradients(LAYERS[name](), rng)
