"""Named sources of randomness, all derived from one seed.

Every random decision of gnet belongs to one of a few named streams, so that changing how one is used (more masks, another
initialisation) leaves the others as they were, and two runs with one seed are equal.
"""

import difflib
import hashlib
from types import MappingProxyType

import torch

from gnet.counts import is_count
from gnet.errors import ConfigError

STREAM_NAMES = ("split", "mask", "init", "batches", "noise", "draw")


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on every argument and on nothing else (not on Python's salted ``hash``).

    Example:
        >>> derive_seed(0, "mask") == derive_seed(0, "mask")
        True
        >>> derive_seed(0, "mask") == derive_seed(1, "mask")
        False
    """
    text = "/".join(str(part).replace("\\", "\\\\").replace("/", "\\/") for part in (int(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class _Streams(dict[str, torch.Generator]):
    def __missing__(self, name: str) -> torch.Generator:
        near = difflib.get_close_matches(str(name), STREAM_NAMES, n=1)
        raise ConfigError(
            f"there is no stream {name!r}{f'; did you mean {near[0]!r}?' if near else '.'} Streams are {', '.join(STREAM_NAMES)}"
        )


def streams(seed: int) -> MappingProxyType[str, torch.Generator]:
    """One CPU generator for each name in ``STREAM_NAMES``; each is seeded by the hash of (seed, name).

    Raises:
        ConfigError: ``seed`` is negative or no integer, or a stream of another name is asked for.

    Example:
        >>> torch.rand(1, generator=streams(0)["init"]) == torch.rand(1, generator=streams(0)["init"])
        tensor([True])
        >>> sorted(streams(0))
        ['batches', 'draw', 'init', 'mask', 'noise', 'split']
    """
    if not is_count(seed, 0):
        raise ConfigError(f"expected a seed that is an integer >= 0, got {seed!r}")
    return MappingProxyType(_Streams({name: torch.Generator().manual_seed(derive_seed(seed, name)) for name in STREAM_NAMES}))
