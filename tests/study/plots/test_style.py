"""One style: colours that every eye tells apart, text that stays text, bytes that do not change, settings left alone."""

from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from gnet.errors import ConfigError
from gnet.study.plots import COLOURS, LINES, MARKERS, new_figure, save, styled
from gnet.study.plots.style import figure_and_axes, ink_on, label_ends

# Machado, Oliveira and Fernandes (2009), A physiologically-based model for simulation of color vision deficiency, severity 1.0;
# on linear RGB.
SEEN_BY = {
    "all cones": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
}
TOLD_APART = 12.0
"""Smallest distance in CIELAB; about 2 is just noticeable side by side."""


def lab(colour: str, seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB (D65) of a colour as it is seen."""
    srgb = np.array(to_rgb(colour))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(seen @ linear, 0.0, 1.0)
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    ratio = to_xyz @ linear / np.array([0.95047, 1.0, 1.08883])
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(palette: list[str], eye: str) -> float:
    """The distance of the two colours that are hardest to tell apart."""
    points = [lab(colour, SEEN_BY[eye]) for colour in palette]
    return min(float(np.linalg.norm(one - other)) for one, other in combinations(points, 2))


@pytest.mark.parametrize("eye", SEEN_BY)
def test_colours_are_told_apart_by_every_eye(eye: str) -> None:
    assert nearest([*COLOURS, "#FFFFFF"], eye) > TOLD_APART


def test_a_palette_of_red_and_green_fails_for_some() -> None:
    liar = ["#C85200", "#808A00", "#0072B2"]
    assert nearest(liar, "all cones") > 3 * TOLD_APART
    assert nearest(liar, "deuteranopia") < TOLD_APART


def test_the_simulation_leaves_grey_as_it_is() -> None:
    for seen in SEEN_BY.values():
        assert np.allclose(lab("#808080", seen), lab("#808080", np.eye(3)), atol=0.01)
    assert lab("#FFFFFF", np.eye(3)) == pytest.approx([100, 0, 0], abs=0.02)  # the white of the colour space


def test_colour_is_never_alone() -> None:
    assert len({str(line) for line in LINES}) == len(set(MARKERS)) == len(set(COLOURS)) == 8


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_two_runs_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    def drawn(name: str) -> bytes:
        with styled():
            figure = new_figure(2, 2)
            axes = figure.subplots()
            axes.plot([0, 1], [1, 2], marker="o", clip_on=True)
            axes.set_title("bias and variance")
        return save(figure, tmp_path / f"{name}.{suffix}").read_bytes()

    one, other = drawn("one"), drawn("other")
    assert one == other
    assert b"CreationDate" not in one and b"<dc:date>" not in one


def test_text_stays_text(tmp_path: Path) -> None:
    figure = new_figure(2, 2)
    figure.text(0.5, 0.5, "equivariance")
    assert b">equivariance</text>" in save(figure, tmp_path / "a.svg").read_bytes()
    pdf = save(figure, tmp_path / "a.pdf").read_bytes()
    assert b"/Subtype /TrueType" in pdf or b"/CIDFontType2" in pdf  # outlines of type 3 cannot be edited
    assert b"/Subtype /Type3" not in pdf


def test_settings_of_matplotlib_are_left_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    with styled():
        figure = new_figure(1, 1)
    save(figure, tmp_path / "a.svg")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.jpg", r"ends in .pdf, .svg or .png, got 'a.jpg'"), ("none/a.pdf", r"there is no folder .*none"), ("a", "got 'a'")],
)
def test_a_bad_file_name_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        save(new_figure(1, 1), tmp_path / name)


def test_axes_must_be_as_many_as_panels() -> None:
    two = new_figure(2, 1).subplots(1, 2)
    assert figure_and_axes(two, 1, 2, 1, 1)[1] == list(two)
    assert figure_and_axes(two[0], 1, 1, 1, 1)[0] is two[0].figure
    with pytest.raises(ConfigError, match=r"axes for 3 panel\(s\), got 2"):
        figure_and_axes(two, 1, 3, 1, 1)
    with pytest.raises(ConfigError, match=r"axes for 1 panel\(s\), got 1"):
        figure_and_axes(["no axes"], 1, 1, 1, 1)  # type: ignore[list-item]


def test_names_at_the_ends_of_curves_do_not_touch() -> None:
    axes = new_figure(2, 2).subplots()
    axes.set(yscale="log", ylim=(1e-4, 1.0))
    assert not label_ends(axes, [("a", 0.5, "black"), ("b", 0.6, "black")])
    assert not label_ends(axes, [("a", float("nan"), "black")])
    assert not list(axes.texts)
    assert label_ends(axes, [("a", 1e-3, "black"), ("b", 2e-3, "black")])  # far from each other on a logarithmic axis
    assert [text.get_text() for text in axes.texts] == ["a", "b"]


def test_ink_can_be_read_on_every_colour() -> None:
    inks = {colour: ink_on(colour) for colour in COLOURS}
    assert inks["#000000"] == "white" and inks["#F0E442"] == "black"
    assert all(np.linalg.norm(lab(colour, np.eye(3))[:1] - lab(ink, np.eye(3))[:1]) > 40 for colour, ink in inks.items())
