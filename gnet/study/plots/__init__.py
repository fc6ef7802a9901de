"""Figures for papers, slides and lectures: each function takes plain data and returns a ``matplotlib.figure.Figure``.

Colours are those of Okabe and Ito, and a mark, a style of line or a number says the same besides; sizes are those of a printed
column or page. ``save`` writes PDF, SVG or PNG. No screen is needed, and matplotlib's own settings stay as they are.

==========================  =====================================================================================
plot_bias_variance          bias^2, variance and test loss of every symmetry of a study
plot_outputs                what the nets of a study put out, beside the truth
==========================  =====================================================================================
"""

from gnet.study.plots.bias_variance import plot_bias_variance, read_summary
from gnet.study.plots.outputs import Outputs, plot_outputs
from gnet.study.plots.style import COLOURS, COLUMN, LINES, MARKERS, PAGE, new_figure, save, styled

__all__ = [
    "COLOURS",
    "COLUMN",
    "LINES",
    "MARKERS",
    "PAGE",
    "Outputs",
    "new_figure",
    "plot_bias_variance",
    "plot_outputs",
    "read_summary",
    "save",
    "styled",
]
