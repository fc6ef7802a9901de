"""Pair orbits as a picture: one colour for each, nodes sorted by cluster, the weight as it is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gnet import (
    ClusterGroup,
    EquivariantLinear,
    InvariantLinear,
    PairOrbits,
    Partition,
    PermutationGroup,
    SymmetricGroup,
    TrivialGroup,
)
from gnet.errors import ConfigError, GroupError, ShapeError
from gnet.study.plots import new_figure, plot_pair_orbits, save
from gnet.study.plots.orbits import orbit_colours

GROUP = ClusterGroup(Partition([0, 1, 0, 2, 1, 1]))
ORDER = [0, 2, 1, 4, 5, 3]


def test_labels_are_those_of_the_orbits_sorted_by_cluster() -> None:
    [axes] = plot_pair_orbits(GROUP).axes
    labels = PairOrbits.of(GROUP).labels()[ORDER][:, ORDER].numpy()
    assert np.array_equal(axes.images[0].get_array(), labels)
    assert [text.get_text() for text in axes.texts] == [str(label) for label in labels.ravel()]
    assert axes.get_title() == "11 pair orbits on 36 pairs\n3 node orbits"
    bounds = sorted(float(line.get_xdata()[0]) for line in axes.lines if len(set(line.get_xdata())) == 1)
    assert bounds == [1.5, 4.5]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2"]


def test_a_weight_is_drawn_as_it_is_and_says_how_equivariant_it_is() -> None:
    layer = EquivariantLinear(GROUP, 2, 3)
    _, axes, bar = plot_pair_orbits(GROUP, layer, "a layer", channels=(2, 1)).axes
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(layer.dense()[ORDER, 2][:, ORDER, 1].detach().numpy())
    assert axes.get_title() == "weight, output 2, input 1\nrelative distance from the equivariant maps: 0"
    low, high = axes.images[0].get_clim()
    assert low == -high and bar.get_ylabel() == "weight"
    weight = torch.zeros(6, 6)
    weight[0, 1] = 1.0  # one of six pairs of its orbit: 1 - 1/6 of the square is lost
    _, axes, _ = plot_pair_orbits(GROUP, weight).axes
    assert axes.get_title() == f"weight\nrelative distance from the equivariant maps: {(5 / 6) ** 0.5:.2g}"
    assert axes.images[0].get_clim() == (0.0, 1.0)  # nothing is negative


def test_clusters_that_change_places_stand_together() -> None:
    swapped = ClusterGroup(Partition([0, 0, 1, 2, 2]), swaps=PermutationGroup([[2, 1, 0]]))
    [axes] = plot_pair_orbits(swapped).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0", "2", "1"]
    assert axes.get_title().endswith("\n2 node orbits")


@pytest.mark.parametrize(
    ("group", "title"),
    [
        (SymmetricGroup(1), "1 pair orbit on 1 pair\n1 node orbit"),
        (SymmetricGroup(4), "2 pair orbits on 16 pairs\n1 node orbit"),
        (TrivialGroup(3), "9 pair orbits on 9 pairs\n3 node orbits"),
        (PermutationGroup([[1, 2, 3, 0]]), "4 pair orbits on 16 pairs\n1 node orbit"),
        (ClusterGroup(Partition(torch.arange(200) % 60)), "3660 pair orbits on 40000 pairs\n60 node orbits"),
    ],
    ids=["one node", "one cluster", "no symmetry", "cyclic", "200 nodes"],
)
def test_every_group_is_drawn(tmp_path: Path, group: ClusterGroup | PermutationGroup, title: str) -> None:
    figure = plot_pair_orbits(group, torch.full((group.degree, group.degree), torch.nan))
    assert figure.axes[0].get_title() == title
    assert np.ma.getmaskarray(figure.axes[1].images[0].get_array()).all()  # NaN is no number
    assert figure.axes[1].get_title().endswith("unknown")
    assert len(figure.axes[0].lines) <= 80 and save(figure, tmp_path / "a.png").stat().st_size > 1000


def test_orbits_have_colours_of_their_own() -> None:
    assert len(set(orbit_colours(24))) == 24 and orbit_colours(3) == orbit_colours(24)[:3]
    assert len(set(orbit_colours(100))) == 100


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected a weight of shape \(6, 6\) or \(6, C', 6, C\), got \(5, 5\)"):
        plot_pair_orbits(GROUP, torch.zeros(5, 5))
    with pytest.raises(ShapeError, match=r"got \(2, 6, 1\)"):
        plot_pair_orbits(GROUP, InvariantLinear(GROUP, 1, 2))
    with pytest.raises(ShapeError, match=r"a tensor or a layer with dense\(\), got str"):
        plot_pair_orbits(GROUP, "weight")
    with pytest.raises(ConfigError, match=r"channels \(output, input\) below \(1, 1\), got \(0, 1\)"):
        plot_pair_orbits(GROUP, torch.zeros(6, 6), channels=(0, 1))
    with pytest.raises(GroupError):
        plot_pair_orbits(Partition([0, 1]))  # type: ignore[arg-type]
    with pytest.raises(GroupError, match="at most 4096 nodes for a picture of all pairs, got 5000"):
        plot_pair_orbits(SymmetricGroup(5000))


def test_it_draws_into_given_axes_and_is_written_with_text(tmp_path: Path) -> None:
    figure = new_figure(7, 3)
    left, right = figure.subplots(1, 2)
    assert plot_pair_orbits(GROUP, torch.ones(6, 6), axes=[left, right]) is figure
    with pytest.raises(ConfigError, match=r"axes for 2 panel\(s\), got 1"):
        plot_pair_orbits(GROUP, torch.ones(6, 6), axes=left)
    assert b">11 pair orbits on 36 pairs<" in save(figure, tmp_path / "a.svg").read_bytes()
