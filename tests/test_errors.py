"""Errors: one base, and the builtin that a caller who knows nothing of gnet would catch."""

import inspect

import pytest

from gnet import errors
from gnet.errors import GnetError
from gnet.testing import LawBroken

CHILDREN = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, GnetError) and cls is not GnetError]


@pytest.mark.parametrize("cls", CHILDREN, ids=lambda cls: cls.__name__)
def test_every_error_says_what_it_is_and_has_a_builtin_parent(cls):
    builtins = {base for base in cls.__mro__ if base.__module__ == "builtins"} - {object, BaseException, Exception}
    assert builtins
    assert cls.__doc__
    assert issubclass(cls, GnetError)


def test_there_are_few():
    assert len(CHILDREN) <= 15


@pytest.mark.parametrize(
    "name", ["ShapeError", "PartitionError", "GraphError", "GroupError", "DataError", "ConfigError", "CheckpointError"]
)
def test_bad_values_are_value_errors(name):
    assert issubclass(getattr(errors, name), ValueError)


def test_a_broken_law_is_an_assertion_error():
    assert issubclass(LawBroken, AssertionError)
    assert issubclass(LawBroken, GnetError)
