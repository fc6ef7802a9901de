"""Where the files of a data set are."""

import os
from pathlib import Path

import pooch


def data_folder(name: str, root: str | None = None) -> Path:
    """The folder ``name`` below ``root``, or below the environment variable GNET_DATA, or else below the user's cache.

    Example:
        >>> str(data_folder("mocap", root="data"))
        'data/mocap'
    """
    return Path(root or os.environ.get("GNET_DATA") or pooch.os_cache("gnet")).expanduser() / name
