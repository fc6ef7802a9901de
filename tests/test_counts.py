"""Whole numbers: NumPy's do what Python's do, and truth values, fractions and texts are none."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from gnet.counts import check_count, is_count, is_integer
from gnet.errors import ConfigError, GnetError
from gnet.graphs import coarsen
from gnet.groups.haar import quadrature_so2
from gnet.plugins.expressivity.pairs import csl
from gnet.plugins.tensors import O, T, hom_basis
from gnet.randomness import streams

TAKERS: dict[str, Callable[[int], object]] = {
    "a rank": lambda n: str(T(n, n)),
    "copies": lambda n: hom_basis(n * T(1), T(1), O(2)).tolist(),
    "a size": lambda n: (O(n).name, O(n).dim),
    "a seed": lambda n: torch.rand(3, generator=streams(n)["init"]).tolist(),
    "clusters": lambda n: str(coarsen(csl(9, 2), n)),
    "nodes": lambda n: csl(5 + n, n).edge_index.tolist(),
    "a degree": lambda n: [part.tolist() for part in quadrature_so2(n)],
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_numpys_integers_are_pythons(take, kind):
    assert take(kind(2)) == take(2)
    assert take(3) != take(2), "what hears nothing of its number would pass"


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
@pytest.mark.parametrize("wrong", [True, np.True_, 2.5, "2"])
def test_no_other_number_is_taken(take, wrong):
    with pytest.raises((GnetError, TypeError)):
        take(wrong)


def test_least_and_name():
    assert [is_count(value, 0) for value in (0, -1, np.int64(0), np.int64(-1))] == [True, False, True, False]
    assert is_integer(-1) and not is_count(-1) and not is_integer(torch.tensor(1))
    with pytest.raises(ConfigError, match="expected lag to be a whole number >= 2, got 1"):
        check_count(2, steps=2, lag=1)
