"""Pickled objects in ``.npz`` files, read without running what the file asks for: arrays, dictionaries, lists and text."""

import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from gnet.errors import DataError

# What pickles of numpy arrays call, by its names before and after numpy 2; all of it makes arrays and nothing else.
ALLOWED = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    *(("numpy", "ndarray"), ("numpy", "dtype")),
}


BROKEN = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError),
    *(ValueError, TypeError, AttributeError, IndexError, KeyError),
)
"""What reading a damaged file raises."""


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows no names but those of ``ALLOWED``.

    Raises:
        DataError: the pickle names anything else, which it would have imported and could have run.

    Example:
        >>> ArrayUnpickler(io.BytesIO(pickle.dumps({"S1": [np.zeros(2), "text"]}))).load()
        {'S1': [array([0., 0.]), 'text']}
        >>> ArrayUnpickler(io.BytesIO(pickle.dumps(len))).load()
        Traceback (most recent call last):
        ...
        gnet.errors.DataError: the pickle asks for builtins.len; only arrays, dictionaries, lists and text are read from it
    """

    def find_class(self, module: str, name: str) -> Any:
        """The object of a name, if it is one of numpy's that make an array."""
        if (module, name) == ("_codecs", "encode"):
            return _as_bytes
        if (module, name) not in ALLOWED:
            raise DataError(f"the pickle asks for {module}.{name}; only arrays, dictionaries, lists and text are read from it")
        return super().find_class(module, name)


def _as_bytes(text: str, encoding: str) -> bytes:
    # How pickles of protocol 2, which numpy wrote before 1.17, hold bytes; other encodings could import codecs.
    if encoding != "latin1":
        raise DataError(f"the pickle asks for the encoding {encoding!r}; bytes are written in latin1")
    return text.encode("latin1")


def read_pickled(path: Path, key: str) -> Any:
    """What ``numpy.load(path, allow_pickle=True)[key].item()`` returns, without running foreign code.

    Raises:
        DataError: no .npz file, a damaged one, no such key, no pickled object, or one that holds other things than arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if key not in names:
                raise DataError(f"{path}: expected the key {key!r}, got {names}")
            content = io.BytesIO(archive.read(f"{key}.npy"))
        version = npy.read_magic(content)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(content)
        if dtype.kind != "O" or shape != ():
            raise DataError(f"{path}: expected {key} to be one pickled dictionary, got an array {dtype} {shape}")
        loaded = ArrayUnpickler(content, encoding="latin1").load()
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from None
    except BROKEN as error:
        raise DataError(f"{path} is no complete .npz file ({type(error).__name__}: {error}); make it again") from error
    return loaded.item() if isinstance(loaded, np.ndarray) else loaded
