"""Figures for papers, slides and lectures: each function takes plain data and returns a ``matplotlib.figure.Figure``.

Colours are those of Okabe and Ito, and a mark, a style of line or a number says the same besides; sizes are those of a printed
column or page. ``save`` writes PDF, SVG or PNG. No screen is needed, and matplotlib's own settings stay as they are.

==========================  =====================================================================================
plot_bias_variance          bias^2, variance and test loss of every symmetry of a study
plot_outputs                what the nets of a study put out, beside the truth
plot_coarsening             a graph, its coarsened graph, and the blow-up
plot_sensor_map             clusters of a graph on the ground
plot_pair_orbits            which weights of a layer are one, and a weight sorted by the orbits of its nodes
plot_layer_errors           equivariance error of each layer of a net
plot_error_against_steps    equivariance errors along training
==========================  =====================================================================================
"""

from gnet.study.plots.bias_variance import plot_bias_variance, read_summary
from gnet.study.plots.coarsening import plot_coarsening, plot_sensor_map
from gnet.study.plots.equivariance import plot_error_against_steps, plot_layer_errors
from gnet.study.plots.layout import layout
from gnet.study.plots.measured import NamedError
from gnet.study.plots.orbits import plot_pair_orbits
from gnet.study.plots.outputs import Outputs, plot_outputs
from gnet.study.plots.style import COLOURS, COLUMN, LINES, MARKERS, PAGE, new_figure, save, styled

__all__ = [
    "COLOURS",
    "COLUMN",
    "LINES",
    "MARKERS",
    "PAGE",
    "NamedError",
    "Outputs",
    "layout",
    "new_figure",
    "plot_bias_variance",
    "plot_coarsening",
    "plot_error_against_steps",
    "plot_layer_errors",
    "plot_outputs",
    "plot_pair_orbits",
    "plot_sensor_map",
    "read_summary",
    "save",
    "styled",
]
