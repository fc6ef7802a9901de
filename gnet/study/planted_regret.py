"""Tables of ``PlantedSelection``: what each way to choose a symmetry loses to the best fixed group, and what is learned."""

from collections.abc import Mapping, Sequence

from gnet.study.simulate import Measured
from gnet.study.tables import markdown_rows

LISTS: dict[str, tuple[str, ...]] = {"listed": (), "not listed": ("planted",), "no refinement": ("planted", "halves")}
"""Lists of candidates, and which groups each leaves out."""
TOLD = {
    "listed": "planted group listed",
    "not listed": "planted group not listed",
    "no refinement": "no refinement listed",
}
"""The lists, as tables and pictures name them."""


def regret_text(lines: Sequence[Measured], method: str = "automatic") -> str:
    """The tables of mean regret, where ``method`` is behind a fixed group, and what was learned and estimated.

    Example:
        >>> settings = {"deviation": "1", "n": "36, 54", "candidates": "listed"}
        >>> rows = [("automatic", -0.13, 0.04), ("planted", 0.0, 0.01)]
        >>> lines = [Measured("mean regret", settings | {"method": name}, *each, float("nan")) for name, *each in rows]
        >>> print(regret_text(lines))
        Mean regret over n = 36, 54, with its standard error; planted group listed:
        <BLANKLINE>
        | | deviation 1 |
        | --- | ---: |
        | automatic | -0.130 ± 0.040 |
        | planted | 0.000 ± 0.010 |
        <BLANKLINE>
        Over these n, automatic is below every fixed group.
    """
    means = [line for line in lines if line.quantity == "mean regret"]
    if not means:
        return "There is no n at which every way to choose can be used, so there is no mean regret."
    parts = list[str]()
    for over in dict.fromkeys(line.settings["n"] for line in means):
        same = [line for line in means if line.settings["n"] == over]
        parts += [*regret_tables(same), behind_text(same, method)]
    return "\n\n".join([*parts, *curve_tables(lines)])


def regret_tables(lines: Sequence[Measured]) -> list[str]:
    """A table with its title for each list of candidates, of mean regrets over the same n."""
    parts = list[str]()
    for which in dict.fromkeys(line.settings["candidates"] for line in lines):
        over = lines[0].settings["n"]
        title = "The same, " if parts else f"Mean regret over n = {over}, with its standard error; "
        parts += [f"{title}{TOLD[which]}:", _table([line for line in lines if line.settings["candidates"] == which])]
    return parts


CURVES = (
    ("agreement", "merging", "{0:.2f}", "Agreement of learned and planted clusters (adjusted Rand index)"),
    (
        "agreement",
        "truth",
        "{0:.2f}",
        "Agreement with the planted clusters of those of lowest true risk, merged from the truth itself",
    ),
    ("bias", "estimate", "{0:.2f} ± {1:.2f}", "Estimated squared deviation"),
)
"""Quantity, method, form and title of what is told for each n."""


def _table(lines: Sequence[Measured]) -> str:
    """Methods and fixed groups down, deviations across."""
    deviations = list(dict.fromkeys(line.settings["deviation"] for line in lines))
    cells = {(line.settings["method"], line.settings["deviation"]): line for line in lines}
    methods = list(dict.fromkeys(line.settings["method"] for line in lines))

    def cell(method: str, deviation: str) -> str:
        line = cells.get((method, deviation))
        return "-" if line is None else f"{line.measured:.3f} ± {line.standard_error:.3f}"

    text = markdown_rows(
        ["", *(f"deviation {each}" for each in deviations)],
        [[method, *(cell(method, each) for each in deviations)] for method in methods],
    )
    return text.replace("|  |", "| |", 1)


def behind_text(lines: Sequence[Measured], method: str, over: str = "these n") -> str:
    """Where a way to choose has a higher mean regret than a fixed group."""
    worse = []
    for line in lines:
        if line.settings["method"] == method:
            place = {name: line.settings[name] for name in ("deviation", "candidates")}
            above = [
                other.settings["method"]
                for other in lines
                if is_of(other.settings, **place)
                and other.settings["method"] in FIXED
                and round(other.measured, 3) < round(line.measured, 3)
            ]
            if above:
                worse.append(f"{' and '.join(above)} at deviation {place['deviation']} ({TOLD[place['candidates']]})")
    return f"Over {over}, {method} is below every fixed group" + (f", but for {', '.join(worse)}." if worse else ".")


FIXED = ("trivial", "halves", "planted", "joined", "symmetric")
"""The fixed groups, smallest first."""


def curve_tables(lines: Sequence[Measured]) -> list[str]:
    """What was learned and estimated at every n, deviations down."""
    tables = []
    for quantity, name, form, title in CURVES:
        mine = [line for line in lines if line.quantity == quantity and line.settings["method"] == name]
        if not mine:
            continue
        cells = {
            (line.settings["deviation"], line.settings["n"]): form.format(line.measured, line.standard_error) for line in mine
        }
        numbers = list(dict.fromkeys(line.settings["n"] for line in mine))
        rows = [
            [f"deviation {each}", *(cells.get((each, n), "-") for n in numbers)]
            for each in dict.fromkeys(line.settings["deviation"] for line in mine)
        ]
        text = markdown_rows(["", *(f"n = {n}" for n in numbers)], rows).replace("|  |", "| |", 1)
        tables.append(f"{title}:\n\n{text}")
    return tables


def curve(
    lines: Sequence[Measured], quantity: str, deviation: str, candidates: str, method: str
) -> tuple[list[int], list[float], list[float]]:
    """The numbers of samples at which a quantity was measured, its means and their standard errors.

    Example:
        >>> settings = {"deviation": "1", "n": "36", "candidates": "fixed", "method": "planted"}
        >>> curve([Measured("risk", settings, 2.0, 0.5, float("nan"))], "risk", "1", "fixed", "planted")
        ([36], [2.0], [0.5])
    """
    mine = [
        line
        for line in lines
        if line.quantity == quantity and is_of(line.settings, deviation=deviation, candidates=candidates, method=method)
    ]
    return [int(line.settings["n"]) for line in mine], [line.measured for line in mine], [line.standard_error for line in mine]


def is_of(settings: Mapping[str, str], **wanted: str) -> bool:
    """Whether settings have these values.

    Example:
        >>> is_of({"n": "36", "method": "planted"}, n="36")
        True
    """
    return all(settings.get(name) == value for name, value in wanted.items())
