"""What a model on a graph can tell apart: colours of message passing, orbits of the automorphisms, and a report for any model."""

from gnet.plugins.expressivity.colours import WLColors, orbits, same_wl, wl_colors
from gnet.plugins.expressivity.pairs import csl, named_graphs, pairs, triangles
from gnet.plugins.expressivity.report import ExpressivityReport, expressivity_report

__all__ = [
    "ExpressivityReport",
    "WLColors",
    "csl",
    "expressivity_report",
    "named_graphs",
    "orbits",
    "pairs",
    "same_wl",
    "triangles",
    "wl_colors",
]
