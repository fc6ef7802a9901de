"""Pictures of vegetation over time, as maps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from gnet.errors import ShapeError
from gnet.plugins.vegetation.model import FIELD_UNITS, Rietkerk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"u": "surface water", "w": "soil water", "v": "vegetation"}
COLOURS = {"u": "Blues", "w": "PuBu", "v": "YlGn"}


def plot_pattern(
    model: Rietkerk, states: Tensor, steps: Sequence[int], *, run: int = 0, fields: Sequence[str] = ("v",)
) -> "Figure":
    """Fields of one run as maps, a column for each moment and a row for each field, on the scale of the last moment.

    Args:
        model: what was solved.
        states: what ``solve`` returned.
        steps: after how many steps each state is; titles are in days, if the inputs are.
        run: which set of parameters.
        fields: rows, among u, w and v.

    Shapes:
        states: (len(steps), B, 3, n, n)

    Raises:
        ShapeError: not one state for each of ``steps``, or no such field or run.

    Example:
        >>> from gnet.plugins.vegetation import planted, solve
        >>> model = Rietkerk(L=16.0)
        >>> steps = [0, 100, 200]
        >>> figure = plot_pattern(model, solve(model, model.start(planted(8)), steps), steps, fields=["v", "w"])
        >>> [axes.get_title() for axes in figure.axes if axes.get_title()]
        ['0 d', '0.5 d', '1 d']
    """
    from gnet.study.plots import PAGE, new_figure

    if states.ndim != 5 or len(states) != len(steps) or not 0 <= run < states.shape[1]:
        raise ShapeError(f"expected states ({len(steps)}, B, 3, n, n) and run < B, got {tuple(states.shape)} and run = {run}")
    if not fields or not set(fields) <= set(FIELD_UNITS):
        raise ShapeError(f"expected fields among {', '.join(FIELD_UNITS)}, got {list(fields)}")
    figure = new_figure(PAGE, 0.3 + (PAGE / len(steps)) * len(fields))
    grid = figure.subplots(len(fields), len(steps), squeeze=False)
    side, day = float(model["L"][run]), float(model["dt"][run])
    for number, (row, name) in enumerate(zip(grid, fields, strict=True)):
        shown = states[:, run, list(FIELD_UNITS).index(name)].detach().double()
        top = float(shown[-1].max()) or 1.0  # single cells that flourish at the start would hide the pattern
        for axes, picture, step in zip(row, shown, steps, strict=True):
            # Axis 0 of a field goes to the right, as in the pictures of geometric images.
            image = axes.imshow(
                picture.mT.numpy(), origin="lower", extent=(0, side, 0, side), cmap=COLOURS[name], vmin=0, vmax=top
            )
            axes.set(xticks=[0, side], yticks=[0, side] if axes is row[0] else [])
            if not number:
                axes.set_title(f"{step * day:g} d")
        row[0].set_ylabel("m")
        figure.colorbar(image, ax=list(row), shrink=0.8, label=f"{NAMES[name]}, {FIELD_UNITS[name].replace('m^-2', '/ m²')}")
    return figure
