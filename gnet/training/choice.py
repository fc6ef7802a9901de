"""Settings with a closed choice of values, for those who make objects without the command line, which checks types."""

import difflib
from typing import Any, get_args

from gnet.errors import ConfigError


def check_choice(name: str, value: str, choices: Any) -> None:
    """Refuse a setting that is none of the values of a ``Literal``.

    Raises:
        ConfigError: with all choices and the nearest one.

    Example:
        >>> from typing import Literal
        >>> check_choice("target", "graf", Literal["node", "graph"])
        Traceback (most recent call last):
        gnet.errors.ConfigError: expected target to be one of 'node', 'graph', got 'graf'; did you mean 'graph'?
    """
    known = get_args(choices)
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"expected {name} to be one of {', '.join(map(repr, known))}, got {value!r}{hint}")
