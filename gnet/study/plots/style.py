"""How every figure looks: colours, marks, sizes and fonts, and the one way to write a figure to a file."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gnet.errors import ConfigError
from gnet.study.journal import write_atomically

# Okabe and Ito (2008): told apart by every kind of colour vision; a mark or a style of line says the same besides.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
MARKERS = ["o", "s", "^", "D", "v", "p", "<", ">"]
LINES: list[Any] = ["-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)), (0, (3, 1, 3, 4))]

COLUMN, PAGE = 3.4, 7.0
"""Width in inches of a column and of a page of two columns: figures are made at the size they are read at."""

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that a figure looks the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 9,
    "legend.frameon": False,
    "legend.handlelength": 3.0,  # long enough for a style of line to show
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "errorbar.capsize": 2.5,
    "pdf.fonttype": 42,  # text stays text: searched, copied and edited
    "svg.fonttype": "none",
    "svg.hashsalt": "gnet",  # names inside the file that do not change from run to run
    "path.simplify": True,
}

_UNDATED: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of gnet; outside of the block matplotlib is as it was.

    Example:
        >>> before = matplotlib.rcParams["pdf.fonttype"]
        >>> with styled():
        ...     print(matplotlib.rcParams["pdf.fonttype"])
        42
        >>> matplotlib.rcParams["pdf.fonttype"] == before
        True
    """
    with matplotlib.rc_context(STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, which needs no screen and can be written as PDF, SVG or PNG.

    Example:
        >>> new_figure(3.4, 2.5).get_size_inches().tolist()
        [3.4, 2.5]
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path, dpi: int = 200) -> Path:
    """Write a figure as .pdf, .svg or .png: what is text stays text, and the same figure gives the same bytes.

    The file is replaced as a whole. ``dpi`` is that of a PNG, and of the parts of a vector file that would be too many lines.

    Raises:
        ConfigError: another suffix, or no such folder.

    Example:
        >>> save(new_figure(1, 1), "empty.pdf").name
        'empty.pdf'
    """
    path = Path(path)
    kind = path.suffix[1:].lower()
    if kind not in _UNDATED:
        raise ConfigError(f"expected a file name that ends in .pdf, .svg or .png, got {path.name!r}")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} to write {path.name} into; make it first")
    content = io.BytesIO()
    with styled():
        figure.savefig(content, format=kind, dpi=dpi, metadata=_UNDATED[kind])
    write_atomically(path, content.getvalue())
    return path


def figure_and_axes(
    axes: Axes | Sequence[Axes] | None, rows: int, columns: int, width: float, height: float
) -> tuple[Figure, list[Axes]]:
    """The axes to draw into, row by row, and their figure: those that were given, or new ones.

    Raises:
        ConfigError: another number of axes than there are panels.
    """
    if axes is None:
        figure = new_figure(width, height)
        return figure, list(figure.subplots(rows, columns, squeeze=False).flat)
    given = [axes] if isinstance(axes, Axes) else list(np.ravel(np.asarray(axes, dtype=object)))
    if len(given) != rows * columns or not all(isinstance(each, Axes) for each in given):
        raise ConfigError(
            f"expected matplotlib axes for {rows * columns} panel(s), got {len(given)}; leave axes out to make them"
        )
    owner = given[0].get_figure(root=True)
    if owner is None:
        raise ConfigError("expected axes that belong to a figure, got axes that were removed from theirs")
    return owner, given


def label_ends(axes: Axes, ends: Sequence[tuple[str, float, str]], gap: float = 0.05) -> bool:
    """Name curves (label, y at the right edge, colour) there; where names would touch, False, and nothing is drawn.

    Call it when the limits of the axes are final; ``gap`` is the smallest distance, as a part of their height.

    Example:
        >>> axes = new_figure(2, 2).subplots()
        >>> _ = axes.set_ylim(0, 1)
        >>> label_ends(axes, [("one", 0.2, "black"), ("other", 0.8, "black")]), label_ends(axes, [("all", 0.2, "black")] * 2)
        (True, False)
    """
    left, (bottom, top) = axes.get_xlim()[0], axes.get_ylim()
    if not all(bottom <= y <= top for _, y, _ in ends):  # false for NaN
        return False
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = sorted(float(to_axes.transform((left, y))[1]) for _, y, _ in ends)
    if any(high - low < gap for low, high in pairwise(heights)):
        return False
    where = axes.get_yaxis_transform()
    for label, y, colour in ends:
        axes.annotate(label, (1.0, y), (4, 0), xycoords=where, textcoords="offset points", va="center", color=colour, fontsize=7)
    return True


def ink_on(colour: str) -> str:
    """Black or white, whichever is read more easily on a colour (WCAG 2.1, relative luminance).

    Example:
        >>> ink_on("#F0E442"), ink_on("#0072B2")
        ('black', 'white')
    """
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"
