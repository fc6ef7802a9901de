"""IDX files (the format of MNIST): find them or fetch them, check their sha256, read them."""

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pooch
import torch
from requests.exceptions import RequestException
from torch import Tensor

from gnet.errors import DataError
from gnet.training.inpainting import ImageInpainting, Images

from .folders import data_folder

IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049
TIMEOUT = 30.0
"""Seconds a server may stay silent."""


@dataclass(frozen=True)
class IdxSource:
    """Where four IDX files come from, and what they must be.

    Args:
        folder: name of their folder below the root.
        url: public address of the folder they are fetched from, with a slash at its end.
        sha256: file name -> checksum, for the images and labels of the training and of the test part.
    """

    folder: str
    url: str
    sha256: Mapping[str, str]

    def locate(self, root: str | None = None, base_url: str | None = None, *, progressbar: bool = True) -> Path:
        """The folder of the files, complete and checked; what is missing is fetched.

        Args:
            root: parent folder; None is the environment variable GNET_DATA, or else the user's cache.
            base_url: a mirror of ``url``.
            progressbar: show the progress of what is fetched.

        Raises:
            DataError: a file with another checksum, or one that can be neither found nor fetched.
        """
        folder = data_folder(self.folder, root)
        for name, expected in self.sha256.items():
            path = folder / name
            if path.exists():
                check_sha256(path, expected)
            else:
                fetch(path, (base_url or self.url).rstrip("/") + "/" + name, expected, progressbar=progressbar)
        return folder

    def read(self, root: str | None = None, base_url: str | None = None) -> Images:
        """All images (uint8) and classes.

        Raises:
            DataError: see ``locate``.
        """
        folder = self.locate(root, base_url)
        arrays = [_read_cached(str(folder / name), expected) for name, expected in self.sha256.items()]
        images, labels = ([each for each in arrays if each.ndim == ndim] for ndim in (3, 1))
        return Images(images[0], labels[0], images[1], labels[1])


class IdxInpainting(ImageInpainting):
    """Inpainting of images that come as IDX files.

    Args:
        base_url: a mirror to fetch missing files from.
        options: see ``ImageInpainting``.
    """

    idx: ClassVar[IdxSource]
    name_of_data: ClassVar[str]
    licence: ClassVar[str]

    def __init__(self, *, base_url: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.base_url = base_url

    def prepare_data(self) -> None:
        """Fetch what is missing; one process does it before all others read."""
        self.idx.locate(self.root, self.base_url)

    def images(self) -> Images:
        """The images for training and for testing."""
        return self.idx.read(self.root, self.base_url)

    def describe(self) -> dict[str, Any]:
        """The data card."""
        return {
            "name": self.name_of_data,
            "source": self.idx.url,
            "licence": self.licence,
            "shapes": "60000 + 10000 images of 28 x 28 pixels: 784 nodes, 1 channel",
            "checksum": dict(self.idx.sha256),
            **super().describe(),
        }


def check_sha256(path: Path, expected: str) -> None:
    """Refuse a file that is not the expected one, byte for byte.

    Raises:
        DataError: another checksum, or a file that cannot be read.
    """
    try:
        stat = path.stat()
        got = _sha256(str(path), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({_first_line(error)}); check its permissions") from error
    if got != expected:
        raise DataError(
            f"{path} is corrupt or truncated: expected sha256 {expected}, got {got} ({stat.st_size} bytes); "
            "delete it to have it fetched again, or put a good copy there"
        )


def fetch(path: Path, url: str, expected: str, *, progressbar: bool = True) -> None:
    """Download one file to ``path``; nothing is left there unless its checksum is right.

    Raises:
        DataError: no connection, no such file, a broken transfer or a wrong checksum; the message names the way by hand.
    """
    by_hand = f"fetch {url} by hand and put it at {path} (sha256 {expected})"
    downloader = pooch.HTTPDownloader(progressbar=progressbar, timeout=TIMEOUT)
    try:
        pooch.retrieve(url, f"sha256:{expected}", fname=path.name, path=path.parent, downloader=downloader)
    except RequestException as error:
        raise DataError(f"{path} is missing and could not be fetched ({_first_line(error)}); {by_hand}") from error
    except OSError as error:
        raise DataError(f"{path} is missing and cannot be written ({_first_line(error)}); give another --data.root") from error
    except ValueError as error:
        raise DataError(f"{path} is missing and {url} gave a wrong checksum ({_first_line(error)}); {by_hand}") from error


def read_idx(path: Path) -> Tensor:
    """The array in a gzipped IDX file: images (M, H, W) or labels (M,), uint8.

    Raises:
        DataError: no gzip file, a truncated one, a wrong magic number, or a length other than its header says.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no complete gzip file ({_first_line(error)}); delete it to have it fetched again") from error
    magic = int.from_bytes(raw[:4], "big")
    if magic not in (IMAGES_MAGIC, LABELS_MAGIC):
        raise DataError(f"{path} is no IDX file: expected magic number {IMAGES_MAGIC} or {LABELS_MAGIC}, got {magic}")
    ndim = magic & 0xFF
    if len(raw) < 4 + 4 * ndim:
        raise DataError(f"{path}: the header of {ndim} axes ends after {len(raw)} bytes; fetch it again")
    shape = [int.from_bytes(raw[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(ndim)]
    body = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * ndim)
    if body.size != int(np.prod(shape)):
        raise DataError(f"{path}: the header promises {shape}, so {int(np.prod(shape))} bytes, got {body.size}; fetch it again")
    return torch.from_numpy(body.reshape(shape).copy())


@lru_cache(maxsize=16)
def _sha256(path: str, size: int, modified: int) -> str:
    # Size and time of change are part of the key: a study sets up a data module for every trial.
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=8)
def _read_cached(path: str, sha256: str) -> Tensor:
    # Unpacking takes longer than a short trial. Content and checksum are one, and no caller writes into the tensor.
    return read_idx(Path(path))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
