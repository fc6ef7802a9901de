"""Every picture of gnet can be read at the size of a page, however much there is to draw."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch_geometric.data import Data
from torch_geometric.utils import grid

from gnet import ClusterGroup, Partition
from gnet.study.plots import (
    Outputs,
    new_figure,
    plot_bias_variance,
    plot_coarsening,
    plot_layer_errors,
    plot_outputs,
    plot_pair_orbits,
    plot_sensor_map,
    styled,
)
from tests.study.plots.page import unreadable
from tests.study.plots.test_bias_variance import summary


def images(variants: int) -> Figure:
    values = np.arange(24.0).reshape(2, 12, 1)
    names = [f"a symmetry with a long name {number}" for number in range(variants)]
    mask = np.ones_like(values, dtype=bool)
    return plot_outputs(Outputs(values, values, mask, dict.fromkeys(names, values + 1), (3, 4), list("abcdefghijkl")))


def curves() -> Figure:
    values = np.arange(150.0).reshape(50, 3, 1)
    return plot_outputs(Outputs(values, values, np.ones_like(values, dtype=bool), {"S3": values + 1}, None, list("abc")))


def skeletons(variants: int) -> Figure:
    target = np.random.default_rng(0).standard_normal((9, 6, 3))
    bones = np.array([[0, 1, 1, 2], [1, 0, 2, 1]])
    names = {f"a symmetry with a long name {number}": target + 1 for number in range(variants)}
    return plot_outputs(
        Outputs(target[..., :2], target, np.ones(target.shape, dtype=bool), names, None, list("abcdef"), bones=bones)
    )


def graph(nodes: int) -> tuple[Data, Partition]:
    edge_index, pos = grid(nodes, nodes)
    return Data(edge_index=edge_index, pos=pos, num_nodes=nodes**2), Partition(
        torch.arange(nodes**2) // max(nodes**2 // 12, 1) % 12
    )


FIGURES: dict[str, Callable[[], Figure]] = {
    "three images": lambda: images(1),
    "images of ten symmetries": lambda: images(10),
    "curves": curves,
    "bias and variance": lambda: plot_bias_variance(
        [summary("trivial", 16), summary("S16", 1), summary("ridge", 16, "baseline")]
    ),
    "skeletons of two symmetries": lambda: skeletons(2),
    "skeletons of nine symmetries": lambda: skeletons(9),
    "errors of forty layers": lambda: plot_layer_errors({f"blocks.{place}": [0.0, 10.0**-place] for place in range(40)}),
    "errors, one of them unknown": lambda: plot_layer_errors({"blocks.0": [1e-16], "blocks.1": [float("nan")], "net": [0.0]}),
    "a coarsening of few nodes": lambda: plot_coarsening(*graph(4), matrices=True),
    "a coarsening of many nodes": lambda: plot_coarsening(*graph(16)),
    "a map": lambda: plot_sensor_map(*graph(8), units="plane"),
    "pair orbits": lambda: plot_pair_orbits(ClusterGroup(Partition(torch.arange(12) % 4))),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_read_at_the_size_of_a_page(name: str) -> None:
    assert unreadable(FIGURES[name]()) == []


def test_small_letters_and_wide_figures_are_caught() -> None:
    with styled():
        figure = new_figure(7.5, 1.0)
        figure.text(0.5, 0.5, "small", fontsize=6.5)
        assert unreadable(figure) == ["7.5 inches wide", "'small' has 6.5 points"]
