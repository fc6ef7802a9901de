"""Tables of a .csv file, with errors that point at the line."""

import csv
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gnet.errors import DataError
from gnet.nn.checks import check_choice

Delimiter = Literal["comma", "semicolon", "tab"]
CHARACTERS: dict[Delimiter, str] = {"comma": ",", "semicolon": ";", "tab": "\t"}

Row = tuple[int, list[str]]
"""The number of a line (from 1, the header's) and its cells."""


def read_table(file: Path, delimiter: Delimiter = "comma") -> tuple[list[str], list[Row]]:
    """Header, and the rows that are no blank lines.

    Raises:
        ConfigError: a delimiter that has no name.
        DataError: no text, no table, lines of several lengths, or cells that something else separates.
    """
    check_choice("delimiter", delimiter, Delimiter)
    rows: list[Row] = []
    try:
        with open(file, newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, strict=True, delimiter=CHARACTERS[delimiter])
            for row in reader:
                cells = [cell.strip() for cell in row]
                if not row:  # a blank line; a row of empty cells is a sample without any reading
                    continue
                if not rows:
                    _check_header(file, cells)
                elif len(cells) != len(rows[0][1]):
                    expected = len(rows[0][1])
                    raise DataError(
                        f"{file}, line {reader.line_num}: expected {expected} cells as in the header, got {len(cells)}"
                    )
                rows.append((reader.line_num, cells))
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected a text file in UTF-8, got other bytes at {error.start}") from error
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num}: no valid csv ({error})") from error
    if not rows:
        raise DataError(f"{file}: expected a csv with a header, got an empty file")
    return rows[0][1], rows[1:]


def columns(file: Path, header: list[str], needed: Sequence[str], optional: Sequence[str]) -> dict[str, int]:
    """Where the columns of these names are.

    Raises:
        DataError: a needed one is missing, or an optional one misspelled.
    """
    names = [name.lower() for name in header]
    missing = [name for name in needed if name not in names]
    if missing:
        expected = ",".join(needed) + "".join(f"[,{name}]" for name in optional)
        raise DataError(f"{file}, line 1: expected the columns {expected}, got {','.join(header)}: {missing} missing")
    for name in set(names) - {*needed, *optional}:
        near = difflib.get_close_matches(name, [each for each in optional if each not in names], n=1, cutoff=0.7)
        if near:
            raise DataError(f"{file}, line 1: there is no column {name!r}; did you mean {near[0]!r}?")
    return {name: names.index(name) for name in (*needed, *optional) if name in names}


def number(file: Path, line: int, column: str, cell: str, hint: str = "") -> float:
    """The number in a cell, NaN where it is empty; ``hint`` ends the message of the error.

    Raises:
        DataError: something else is in it.

    Example:
        >>> number(Path("a.csv"), 2, "north", "1.5"), number(Path("a.csv"), 2, "north", "")
        (1.5, nan)
    """
    if cell.lower() in ("", "nan", "na", "null", "none"):
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        hint = "; write decimals with a point" if "," in cell else hint
        raise DataError(
            f"{file}, line {line}, column {column!r}: expected a number or an empty cell, got {cell!r}{hint}"
        ) from None


def existing(path: str | Path, what: Literal["signals", "edges", "positions", "targets"]) -> Path:
    """The path of a file that is there.

    Raises:
        DataError: it is not, with the nearest name.
    """
    file = Path(path).expanduser()
    if file.is_file():
        return file
    near = (
        difflib.get_close_matches(file.name, [each.name for each in file.parent.iterdir()], n=1) if file.parent.is_dir() else []
    )
    hint = f"did you mean {near[0]!r}?" if near else f"relative paths start at {Path.cwd()}"
    raise DataError(f"{file}: no such file of {what}; {hint}")


def _check_header(file: Path, header: list[str]) -> None:
    found = [name for name, character in CHARACTERS.items() if len(header) == 1 and character in header[0]]
    if found:
        raise DataError(
            f"{file}, line 1: expected several columns, got the one column {header[0]!r}; say delimiter={found[0]!r}, "
            "which holds for all csv files"
        )
