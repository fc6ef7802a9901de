"""IDX files: read, checked, fetched from a local server that also fails in every way a server can."""

import gzip
import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
import torch

from datasets.idx import IdxInpainting, IdxSource, read_idx
from gnet.errors import DataError

NAMES = ("train-images.gz", "train-labels.gz", "test-images.gz", "test-labels.gz")


def idx_bytes(array: np.ndarray) -> bytes:
    header = (2051 if array.ndim == 3 else 2049).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A small data set in four files: 60 + 40 images of 6 x 5 pixels in two classes."""
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 256, (60, 6, 5)), np.arange(60) % 2, random.integers(0, 256, (40, 6, 5)), np.arange(40) % 2]
    return {name: idx_bytes(array) for name, array in zip(NAMES, arrays, strict=True)}


class Server(BaseHTTPRequestHandler):
    """Serves ``files``; ``fault`` says how it fails."""

    files: ClassVar[dict[str, bytes]] = {}
    fault: ClassVar[str | None] = None
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        if self.fault == "missing" or name not in self.files:
            self.send_error(404)
            return
        body = self.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.fault == "truncated":
            body = body[: len(body) // 2]
        if self.fault == "corrupt":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(files, monkeypatch):
    monkeypatch.setattr(Server, "files", files)
    monkeypatch.setattr(Server, "fault", None)
    monkeypatch.setattr(Server, "asked", [])
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/here"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def source(files) -> IdxSource:
    return IdxSource("small", "http://127.0.0.1:9/", {name: hashlib.sha256(body).hexdigest() for name, body in files.items()})


@pytest.fixture
def Small(source) -> type[IdxInpainting]:
    class Small(IdxInpainting):
        name_of_data, licence, idx, normalisation = "Small", "none", source, (0.5, 0.25)

    return Small


def test_fetches_what_is_missing_once_and_reads_it(server, source, tmp_path, capfd):
    images = source.read(str(tmp_path), server)
    assert images.train.shape == (60, 6, 5)
    assert images.test_labels.tolist() == [0, 1] * 20
    assert sorted(Server.asked) == sorted(NAMES)
    assert "100%" in capfd.readouterr().err  # the progress bar
    source.read(str(tmp_path), server)
    assert len(Server.asked) == 4
    (tmp_path / "small" / NAMES[2]).unlink()
    source.locate(str(tmp_path), server + "/")
    assert Server.asked[4:] == [NAMES[2]]


def test_root_is_the_argument_then_the_environment_then_the_cache(server, source, tmp_path, monkeypatch):
    monkeypatch.setenv("GNET_DATA", str(tmp_path / "environment"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert source.locate(str(tmp_path / "given"), server, progressbar=False) == tmp_path / "given" / "small"
    assert source.locate(None, server, progressbar=False) == tmp_path / "environment" / "small"
    monkeypatch.delenv("GNET_DATA")
    folder = source.locate(None, server, progressbar=False)
    assert folder.name == "small"
    assert folder.is_dir()
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert tmp_path / "cache" in folder.parents


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("missing", "404"), ("truncated", "IncompleteRead|Connection broken"), ("corrupt", "gave a wrong checksum")],
)
def test_what_a_bad_server_gives_never_arrives(server, source, tmp_path, monkeypatch, fault, reason):
    monkeypatch.setattr(Server, "fault", fault)
    with pytest.raises(DataError, match=reason) as caught:
        source.locate(str(tmp_path), server, progressbar=False)
    path = tmp_path / "small" / NAMES[0]
    assert f"fetch {server}/{NAMES[0]} by hand and put it at {path} (sha256 {source.sha256[NAMES[0]]})" in str(caught.value)
    assert not path.exists()
    assert not list(tmp_path.rglob("tmp*"))


def test_no_server_at_all_names_the_way_by_hand(source, tmp_path):
    with pytest.raises(
        DataError, match=r"could not be fetched .*; fetch http://127.0.0.1:9/train-images.gz by hand and put it at"
    ):
        source.locate(str(tmp_path))


def test_a_folder_that_cannot_be_made_is_said_so(server, source, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="cannot be written"):
        source.locate(str(tmp_path / "file"), server, progressbar=False)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty"])
def test_a_damaged_file_is_named_with_both_checksums(server, source, tmp_path, files, damage):
    source.locate(str(tmp_path), server, progressbar=False)
    good = files[NAMES[0]]
    path = tmp_path / "small" / NAMES[0]
    bad = {"truncated": good[:100], "one bit": good[:-9] + bytes([good[-9] ^ 4]) + good[-8:], "empty": b""}[damage]
    path.write_bytes(bad)
    got = hashlib.sha256(bad).hexdigest()
    with pytest.raises(DataError, match=f"corrupt or truncated: expected sha256 {source.sha256[NAMES[0]]}, got {got}") as caught:
        source.read(str(tmp_path), server)
    assert str(path) in str(caught.value)
    assert "delete it to have it fetched again" in str(caught.value)
    path.unlink()
    assert len(source.read(str(tmp_path), server).train) == 60


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip", "no complete gzip file"),
        (idx_bytes(np.zeros((3, 2, 2)))[:-4], "no complete gzip file"),
        (gzip.compress(b"\0\0\x08\x02abc"), "expected magic number 2051 or 2049, got 2050"),
        (gzip.compress(gzip.decompress(idx_bytes(np.zeros((3, 2, 2))))[:-1]), r"promises \[3, 2, 2\], so 12 bytes, got 11"),
        (gzip.compress(b"\0\0\x08\x03\0\0"), "the header of 3 axes ends after 6 bytes"),
    ],
    ids=["text", "cut gzip", "magic", "short body", "short header"],
)
def test_files_that_are_no_idx_files(tmp_path, content, message):
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_reads_what_was_written(tmp_path, rng):
    images = torch.randint(0, 256, (3, 4, 5), generator=rng, dtype=torch.uint8)
    (tmp_path / "a.gz").write_bytes(idx_bytes(images.numpy()))
    assert torch.equal(read_idx(tmp_path / "a.gz"), images)


def test_a_data_module_fetches_and_prepares(server, Small, tmp_path):
    module = Small(mask_side=2, num_train=8, num_val=4, num_test=10, root=str(tmp_path), base_url=server)
    module.prepare_data()
    module.setup()
    assert module.train_arrays().x.shape == (8, 30, 1)
    assert module.grid_shape == (6, 5)
    images = module.denormalise(module.test_arrays().y) * 255
    numbers = [int(label) for label in module.sample_labels("test")]
    torch.testing.assert_close(images, module.images().test[numbers].float(), atol=1e-3, rtol=0)
    card = module.describe()
    assert card["checksum"] == dict(module.idx.sha256)
    assert card["name"] == "Small"
