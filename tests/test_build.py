"""`make build`: sdist and wheel are made, and the wheel trains a net in a bare environment outside the repository."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("build")]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command with nothing of the repository on its path; its output, or its error as the test's."""
    pins = str(ROOT / "constraints.txt")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GNET_", "VIRTUAL_ENV"))}
    env |= {"PIP_CONSTRAINT": pins, "PIP_BUILD_CONSTRAINT": pins, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=900)
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sdist and wheel, the wheel made from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The interpreter of an environment that holds the wheel and what it asks for, nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "env", with_pip=True)
    interpreter = folder / "env" / "bin" / "python"
    link_torch(folder / "env")
    run(interpreter, "-m", "pip", "install", "--quiet", "--no-compile", next(dist.glob("*.whl")), cwd=folder)
    yield interpreter
    shutil.rmtree(folder / "env")


def link_torch(env: Path) -> None:
    """Lend torch, and the CUDA libraries that come with it, to an environment: they are gigabytes, all else is installed.

    Only the pinned version is lent: pip would replace another one, through the links.
    """
    pin = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if importlib.metadata.version("torch").split("+")[0] != pin[1]:
        return
    site = next(env.glob("lib/python*/site-packages"))
    for package in importlib.metadata.distributions():
        if re.match(r"(torch|triton|nvidia-.*|cuda-.*)$", package.name.lower().replace("_", "-")):
            here = Path(str(package.locate_file("")))
            for top in {file.parts[0] for file in package.files} - {"..", "__pycache__"}:
                if not (site / top).exists():
                    (site / top).symlink_to(here / top)


def test_wheel_ships_gnet_only(dist):
    with zipfile.ZipFile(dist / f"gnet-{VERSION}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    assert {name.split("/")[0] for name in names} == {"gnet", f"gnet-{VERSION}.dist-info"}
    assert {"gnet/py.typed", "gnet/cli.py", "gnet/configs/digits.yaml"} <= names
    packed = {name for name in names if name.startswith("gnet/") and name.endswith(".py")}
    assert packed == {path.relative_to(ROOT).as_posix() for path in (ROOT / "gnet").rglob("*.py")}


def test_sdist_holds_the_repository(dist):
    with tarfile.open(dist / f"gnet-{VERSION}.tar.gz") as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames()}
    assert {
        "README.md",
        "LICENSE",
        "Makefile",
        "constraints.txt",
        "train.py",
        "tests/test_build.py",
        "datasets/__init__.py",
    } <= names
    assert not [
        name for name in names if name.startswith((".venv", ".git/", "runs", "studies")) or name.endswith((".ckpt", ".pyc"))
    ]


def test_wheel_trains_in_a_bare_environment(python, tmp_path):
    where = run(python, "-c", "import gnet; print(gnet.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(python.parents[1])
    run(python, "-m", "gnet", "fit", "--config", "gnet:digits", "--trainer.max_epochs", "3", cwd=tmp_path)
    assert list(tmp_path.rglob("*.ckpt")), "fit wrote no checkpoint"
    assert VERSION in run(python.parent / "gnet", "--version", cwd=tmp_path)
    run(python, "-m", "pip", "check", cwd=tmp_path)
