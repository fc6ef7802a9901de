"""On which machine, with which versions and from which code a number came; and the committed tables that keep it."""

import csv
import datetime
import hashlib
import importlib.metadata
import io
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import lock_descriptor

from gnet.errors import DataError
from gnet.study.journal import COLUMNS, Row, csv_text

PACKAGES = ("torch", "torch-geometric", "lightning", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Provenance:
    """One start of a study: when, where, and with which code."""

    date: str
    revision: str
    processor: str
    cores: int
    system: str
    versions: dict[str, str]
    command: str
    code: str = "unknown"

    @classmethod
    def now(cls, command: str) -> "Provenance":
        """This moment, on this machine."""
        return cls(
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            revision=revision(),
            code=fingerprint(),
            processor=processor(),
            cores=os.cpu_count() or 1,
            system=f"{platform.system()} {platform.machine()}",
            versions={"python": platform.python_version(), **{name: version(name) for name in ("gnet", *PACKAGES)}},
            command=command,
        )

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> "Provenance":
        """The inverse of ``asdict``."""
        return cls(**values)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, object]:
        """As ``study.json`` keeps it."""
        return asdict(self)


def processor() -> str:
    """The processor's name as its maker writes it, where the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # no Linux: platform knows something
    return platform.processor() or platform.machine()


def version(package: str) -> str:
    """The installed version of a package, or "none"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def revision() -> str:
    """The git revision of gnet's own code, ``+dirty`` with uncommitted changes; "unknown" outside a repository.

    Tables of results do not count as changes: recording a row would make the next one dirty.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "unknown"
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!configs/results")
    return f"{head}+dirty" if changes else head


def fingerprint() -> str:
    """A hash of gnet's own source files: it tells two states of the code apart where git cannot, as between two edits.

    Example:
        >>> len(fingerprint()), fingerprint() == fingerprint()
        (12, True)
    """
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


RECORD_COLUMNS = ["config", "overrides", *COLUMNS, "revision", "processor", "cores", "torch", "date"]


class Record:
    """A committed table that long runs append to: every trial with its config, code, machine and date.

    A line that is there is not written again. A trial that was run again with another result has two; the newest one counts.

    Raises:
        DataError: the file has other columns.
    """

    def __init__(self, path: Path, config: str, overrides: str) -> None:
        self.path, self.config, self.overrides = path, config, overrides
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()  # what cannot be written is noticed before hours of training
        self.known = {self._key(line) for line in self._lines()}

    def append(self, rows: Sequence[Row], source: Provenance) -> None:
        """Add the rows that are not there yet."""
        lines = [[self.config, self.overrides, *row.cells(), *self._source(source)] for row in rows]
        fresh = [line for line in lines if self._key(line) not in self.known]
        if not fresh:
            return
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            lock_descriptor(file.fileno())  # another study may be recording into the same table
            is_new = file.seek(0, os.SEEK_END) == 0  # now, not when the file was opened
            text = csv_text(RECORD_COLUMNS, fresh)
            file.write(text if is_new else text.partition("\n")[2])
            file.flush()
        self.known |= {self._key(line) for line in fresh}

    @staticmethod
    def _source(source: Provenance) -> list[str]:
        return [source.revision, source.processor, str(source.cores), source.versions.get("torch", "none"), source.date]

    def _lines(self) -> list[list[str]]:
        lines = list(csv.reader(io.StringIO(self.path.read_text(encoding="utf-8"))))
        if lines and lines[0] != RECORD_COLUMNS:
            raise DataError(f"{self.path} is no table of recorded trials: expected the columns {','.join(RECORD_COLUMNS)}")
        return lines[1:]

    @staticmethod
    def _key(line: list[str]) -> tuple[str, ...]:
        without = {"seconds", "cores", "processor", "date", "revision", "torch"}
        return tuple(cell for name, cell in zip(RECORD_COLUMNS, line, strict=False) if name not in without)
