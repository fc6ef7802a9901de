"""Every public function of theory and measures says its shapes, units, errors and sources, and shows an executed example."""

import inspect
import re

import numpy as np
import pytest
import torch

import gnet.measures
import gnet.theory
from gnet.errors import ConfigError, DataError, GnetError, GraphError, GroupError, NotFiniteError, PartitionError, ShapeError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, TrivialGroup
from gnet.measures import equivariance_error

PARTS = ("Shapes", "Units", "Raises", "References", "Example")
ROOMS = (gnet.theory, gnet.measures)
FUNCTIONS = {name: getattr(room, name) for room in ROOMS for name in room.__all__ if inspect.isfunction(getattr(room, name))}
ESTIMATORS = ("EquivariantRidge", "ShrunkEquivariantRegression", "InvariantKernelRidge")


def parts_of(docstring: str) -> dict[str, str]:
    """Section -> its text."""
    found = re.split(rf"^({'|'.join(PARTS)}|Args|Returns|Attributes):", inspect.cleandoc(docstring), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


@pytest.mark.parametrize("name", [*FUNCTIONS, *ESTIMATORS])
def test_every_part_is_there(name):
    subject = FUNCTIONS.get(name) or getattr(gnet.theory, name)
    parts = parts_of(subject.__doc__)
    assert [part for part in PARTS if not parts.get(part, "").strip()] == []
    assert ">>> " in parts["Example"]
    assert re.search(r"\d{4}|as ``|[Bb]y ", parts["References"]), "a year, or where else to look"


def test_there_are_as_many_as_the_rooms_export():
    assert len(FUNCTIONS) > 40 and {"stabiliser_of", "crossover_sample_size", "element_approximation_gap"} <= set(FUNCTIONS)


PAIR, WHOLE, S3 = [[0.0, 1.0], [1.0, 0.0]], Partition.whole(2), SymmetricGroup(3)
NAN, FIT = float("nan"), gnet.theory.LeastSquares(torch.ones(3, 1), torch.eye(3, dtype=torch.float64), 1.0)
SWAPPED = ClusterGroup(Partition([0, 0, 1, 1]), PermutationGroup([[1, 0]]))
RAISED = [
    ("coarse_approximation", PartitionError, lambda f: f(PAIR, Partition([0]))),
    ("coarse_approximation", ConfigError, lambda f: f(PAIR, WHOLE, "mean")),
    ("coarse_approximation", ShapeError, lambda f: f([[1.0, 2.0]], WHOLE)),
    ("cut_filter_bound", ConfigError, lambda f: f(0, 1.0, 1.0)),
    ("shrinkage_factor", ConfigError, lambda f: f(-1.0, 1.0)),
    ("optimal_model_error", ConfigError, lambda f: f(-1.0, 1.0)),
    ("element_approximation_gap", ConfigError, lambda f: f(-1.0, 1.0)),
    ("filter_difference", PartitionError, lambda f: f(PAIR, Partition([0]), [1.0])),
    ("filter_error", ShapeError, lambda f: f(PAIR, S3, [1.0])),
    ("filter_error", GroupError, lambda f: f(PAIR, "S2", [1.0])),
    ("equivariance_rate", DataError, lambda f: f(PAIR, [NAN])),
    ("polynomial_filter", ShapeError, lambda f: f(PAIR, [[1.0]])),
    ("propagated_error", DataError, lambda f: f([[[NAN], [0.0]]], PAIR, PAIR, [])),
    ("generalisation_bound", DataError, lambda f: f([NAN], [1], 5)),
    ("greedy_net_sizes", ConfigError, lambda f: f([[1.0]], [-1.0])),
    ("sorted_within", ConfigError, lambda f: f(SWAPPED)),
    ("split_map", GroupError, lambda f: f(np.eye(3), "S3")),
    ("dim_hom", ConfigError, lambda f: f(S3, 0)),
    ("weighted_split", ConfigError, lambda f: f(np.eye(3), S3, np.eye(3), "both")),
    ("estimate_bias", ShapeError, lambda f: f(FIT, SymmetricGroup(4))),
    ("select_group", ConfigError, lambda f: f(FIT, [])),
    ("estimate_shrinkage", ConfigError, lambda f: f(FIT, [])),
    ("optimal_shrinkage", ConfigError, lambda f: f(np.ones(3), S3, 4, output="invariant")),
    ("linear_risk_gap", DataError, lambda f: f(np.full((3, 3), NAN), np.eye(3), S3)),
    ("crossover_sample_size", GroupError, lambda f: f(np.eye(3), S3, TrivialGroup(3))),
    ("adjacency", DataError, lambda f: f([[NAN]])),
    ("cut_norm", DataError, lambda f: f([[NAN]])),
    ("infinity_to_one_norm", ShapeError, lambda f: f(np.eye(21))),
    ("decompose", ShapeError, lambda f: f(np.eye(2), [0, 1, 2])),
    ("fitted_bias_variance", ConfigError, lambda f: f(lambda draw: torch.tanh, torch.zeros(1), torch.zeros(1), num_draws=1)),
    ("residual_gram", ShapeError, lambda f: f([np.ones(2)], np.ones(3))),
    ("channel_equivariance_errors", ConfigError, lambda f: f(torch.eye(3), S3, output="both")),
    ("moment_shift", DataError, lambda f: f([[NAN, 0.0], [0.0, 0.0]], SymmetricGroup(2))),
    ("project", NotFiniteError, lambda f: f(torch.tanh, SymmetricGroup(9), num_samples=None)),
    ("stabiliser_of", ConfigError, lambda f: f(gnet.measures.model_error(torch.tanh, torch.ones(2, 3, 1), S3), -1.0)),
    ("data_error", DataError, lambda f: f(np.full((9, 3), NAN), np.ones(9), S3)),
    ("energy_shift", DataError, lambda f: f(torch.full((4, 3, 1), NAN), S3)),
]


def raised_by(name: str, functions: dict = FUNCTIONS) -> set[str]:
    """The errors that the section on them names; "as ``f``" stands for those of f, but for others where some are named beside."""
    named: set[str] = set()
    for entry in re.split(r"\n(?=    \S)", parts_of(functions[name].__doc__)["Raises"]):
        own, others = set(re.findall(r"\b[A-Z]\w+Error\b", entry)), re.findall(r"\bas (?:in )?``(\w+)``", entry)
        theirs = [raised_by(other, functions) for other in others]
        named |= own or set().union(*theirs)
        for other, found in zip(others, theirs, strict=True):
            assert not own or own & found, f"{name} says {sorted(own)} as {other}, which raises {sorted(found)}"
            assert " and " in entry or own <= found, f"{name} says {sorted(own)} as {other}, which raises {sorted(found)}"
    return named


@pytest.mark.parametrize(("name", "error", "call"), RAISED, ids=[f"{name}-{error.__name__}" for name, error, _ in RAISED])
def test_errors_that_are_raised_are_named(name, error, call):
    with pytest.raises(GnetError) as caught:
        call(FUNCTIONS[name])
    assert type(caught.value) is error
    assert error.__name__ in raised_by(name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_of_another_function_are_errors_of_it(name):
    ours = {each.__name__ for each in vars(gnet.errors).values() if isinstance(each, type) and issubclass(each, GnetError)}
    assert raised_by(name) <= ours and raised_by(name)


def test_an_error_that_the_other_function_does_not_name_is_caught():
    def one():
        """Raises:
        ShapeError: no.
        """

    def two():
        """Raises:
        DataError: as ``one``.
        """

    def three():
        """Raises:
        as ``one``.
        """

    functions = {"one": one, "two": two, "three": three}
    assert raised_by("three", functions) == {"ShapeError"} != raised_by("one", functions) | {"DataError"}
    with pytest.raises(AssertionError, match=r"two says \['DataError'\] as one, which raises \['ShapeError'\]"):
        raised_by("two", functions)


def test_a_docstring_that_keeps_quiet_is_caught():
    assert "Units" not in parts_of("One line.\n\nShapes:\n    x: (N,)\n\nRaises:\n    ShapeError: no.\n")
    assert set(parts_of(equivariance_error.__doc__)) >= set(PARTS)


def test_impossible_edges_are_graph_errors():
    from torch_geometric.data import Data

    with pytest.raises(GraphError):
        gnet.theory.adjacency(Data(edge_index=torch.tensor([[0], [5]]), num_nodes=2))
