"""gnet's docstrings are plain text with plain-text mathematics: made safe for reStructuredText, with sections for napoleon."""

import re
from collections.abc import Iterator

import rooms

import gnet

FIELDS = ("Args", "Attributes", "Raises")
HEADER = re.compile(r"(Args|Attributes|Raises|Returns|References|Example|Shapes|Units|Shapes, units):(?: (.+))?")
NAMED = re.compile(r"[A-Za-z_][\w.]*(?:, [A-Za-z_][\w.]*)*: ")
LITERAL = re.compile(r"(``.+?``)", re.DOTALL)
EMPHASIS = re.compile(r"(?<![\w*])\\\*([a-z][a-z ]*)\\\*(?![\w*])")


def escape(text: str) -> str:
    """Prose in which stars, bars and underscores mean themselves; ``literals`` stay, public names among them are links."""
    parts = LITERAL.split(text)
    for place, part in enumerate(parts):
        if part.startswith("``"):
            home = rooms.home_of(part.strip("`"))
            parts[place] = f":py:obj:`~{home}`" if home else part
        else:
            part = re.sub(r"([\\*`|])", r"\\\1", part)
            part = EMPHASIS.sub(r"*\1*", part)
            part = re.sub(r"(?<=\w)_(?!\w)", r"\\_", part)
            parts[place] = re.sub(r"^([A-Za-z]\.)(?=\s|$)", r"\\\1", part, flags=re.MULTILINE)  # no item A. of a list
    return "".join(parts)


def sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """(name, body) of each section, the body without its indentation; the text before the first and between them is named ""."""
    name, body = "", []
    for line in lines:
        header = HEADER.fullmatch(line)
        if header:
            yield name, body
            name, body = header[1], [header[2]] if header[2] else []
        elif name and line and not line.startswith("    "):
            if body and body[-1]:  # the second line of a section that began behind its name
                body.append(line)
            else:
                yield name, body
                name, body = "", [line]
        else:
            body.append(line.removeprefix("    ") if name else line)
    yield name, body


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines without an empty one."""
    run: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            run.append(line)
        elif run:
            yield run
            run = []


def prose(lines: list[str]) -> list[str]:
    """Escaped paragraphs; examples as they are, indented paragraphs as formulas."""
    made: list[str] = []
    for run in paragraphs(lines):
        if run[0].lstrip().startswith(">>>"):
            made += run
        elif run[0].startswith("  "):
            made += ["::", "", *(f"    {line}" for line in run)]
        else:
            # An example may follow the sentence that introduces it.
            text = [line for line in run if not line.startswith((">>>", "..."))]
            made += escape("\n".join(text)).split("\n")
            if len(text) < len(run):
                made += ["", *run[len(text) :]]
        made.append("")
    return made


def fields(lines: list[str], errors: bool = False) -> list[str]:
    """``name: text`` entries with the text escaped, one for each name of an entry."""
    made: list[str] = []
    entries: list[list[str]] = []
    for line in filter(str.strip, lines):
        if entries and line.startswith(" "):
            entries[-1].append(line)
        else:
            entries.append([line])
    for entry in entries:
        names, _, first = entry[0].partition(": ")
        text = escape("\n".join([first, *entry[1:]])).split("\n")
        for name in names.split(", "):
            # Another room may have a result called as an error is.
            shown = f"~gnet.errors.{name}" if errors and hasattr(gnet.errors, name) else name
            made += [f"{shown}: {text[0]}", *text[1:]]
    return made


def convert(lines: list[str]) -> list[str]:
    """A docstring of ours as napoleon and reStructuredText read it.

    Example:
        >>> convert(["|x|.", "", "Shapes:", "    x: (*, N)", "", "Units: of x_."])[:6]
        ['\\\\|x\\\\|.', '', 'Shapes:', '    ::', '', '        x: (*, N)']
    """
    made: list[str] = []
    for name, body in sections(lines):
        while body and not body[-1].strip():
            body.pop()
        if not name:
            made += prose(body)
            continue
        named = name in FIELDS and all(NAMED.match(line) for line in body if line.strip() and not line.startswith(" "))
        if named:
            inside = fields(body, errors=name == "Raises")
        elif name == "Shapes":
            inside = ["::", "", *(f"    {line}" for line in body)]
        else:
            inside = prose(body)
        if named and name == "Attributes":  # napoleon would lose the underscore of a fitted one
            inside = [f"- ``{line.replace(': ', '``: ', 1)}" if not line.startswith(" ") else f"  {line}" for line in inside]
            inside, named = [*inside, ""], False
        title = {"Shapes, units": "Shapes and units"}.get(name, name)
        if name in FIELDS and not named:  # a sentence, as in "Raises: as the other function"
            made += [f".. rubric:: {title}", "", *inside, ""]
        else:
            made += [f"{title}:", *(f"    {line}" if line else "" for line in inside), ""]
    return made
