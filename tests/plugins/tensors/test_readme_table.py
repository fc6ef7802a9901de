"""The table of the README is that of the tests."""

from pathlib import Path

from tests.plugins.tensors.table import TABLE

README = Path(__file__).resolve().parents[3] / "gnet" / "plugins" / "tensors" / "README.md"


def rows(text: str) -> list[str]:
    lines = text.splitlines()
    start = lines.index("| group | d | dim T(k), k = 0, 1, ... | T(1,1) | T(2,2) |")
    return [line for line in lines[start + 2 :] if line.startswith("|")]


def expected() -> list[str]:
    return [
        f"| {name} | {row.make().dim} | {' '.join(map(str, row.ranks))} | {row.mixed} | {row.double} |"
        for name, row in TABLE.items()
    ]


def test_the_readme_shows_what_is_tested():
    assert rows(README.read_text()) == expected()
    cells = sum(len(row.ranks) + 2 for row in TABLE.values())
    assert f"all {cells} of them" in README.read_text()


def test_a_number_written_by_hand_is_caught():
    assert rows(README.read_text().replace("| 15 52 203", "| 15 52 204").replace(" 15 52 203 |", " 15 52 204 |")) != expected()
