"""What nets put out is drawn for every kind of data, without a screen."""

from pathlib import Path

import numpy as np
import pytest

from gnet.study.plots import Outputs, plot_outputs, save
from gnet.study.plots.outputs import _curves, _images, _skeletons


def is_picture(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 5000


def outputs(shape: tuple[int, ...], grid: tuple[int, int] | None) -> Outputs:
    generator = np.random.default_rng(0)
    values = {name: generator.standard_normal(shape) for name in ("S6", "trivial")}
    mask = generator.random(shape) < 0.5
    mask[0] = False
    return Outputs(
        generator.standard_normal((shape[0], 6, 2)), generator.standard_normal(shape), mask, values, grid, list("abcdef")
    )


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((3, 6, 1), (2, 3)), ((50, 6, 2), None), ((50, 2), None), ((50, 2), (2, 3))],
    ids=["images", "nodes", "graphs", "images to graphs"],
)
def test_outputs_are_drawn(tmp_path: Path, shape: tuple[int, ...], grid: tuple[int, int] | None) -> None:
    save(plot_outputs(outputs(shape, grid), "title"), tmp_path / "a.png")
    assert is_picture(tmp_path / "a.png")


def test_hidden_pixels_are_marked_in_the_input_alone() -> None:
    target = np.random.default_rng(0).standard_normal((3, 6, 1))
    hidden = np.zeros((3, 6, 1), dtype=bool)
    hidden[0, 1] = hidden[1, 2:4] = True
    shown = Outputs(np.where(hidden, 0.0, target), target, ~hidden, {"S6": target}, (2, 3), list("abcdef"))
    assert (shown.hidden == hidden).all()
    panels = [axes.images[0].get_array() for axes in _images(shown, (2, 3)).axes]
    assert [np.ma.getmaskarray(panel).sum() for panel in panels] == [1, 0, 0, 2, 0, 0, 0, 0, 0]


def test_poses_are_drawn_as_skeletons_in_the_units_of_the_data(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    target = generator.standard_normal((9, 6, 3))
    target[:, 0] = 0.0
    moved = target + [[[0.0, 0.0, 0.0]]] + np.array([0.0, 0.0, 2.0]) * (np.arange(6) > 0)[:, None]  # but for the root
    shifted = target + 5.0  # the root too: no error once it is on the true one
    bones = np.array([[0, 1, 1, 2], [1, 0, 2, 1]])
    shown = Outputs(
        generator.standard_normal((9, 6, 2)),
        target,
        np.ones(target.shape, dtype=bool),
        {"moved": moved, "shifted": shifted},
        None,
        list("abcdef"),
        bones,
        (np.array([1.0, 2.0, 3.0]), np.full(3, 1000.0)),
    )
    figure = _skeletons(shown)
    errors = [float(axes.texts[0].get_text()) for axes in figure.axes[:2]]
    assert errors == pytest.approx([2000 * 5 / 6, 0.0], rel=5e-3, abs=1e-9)
    assert all(len(axes.lines) == 4 for axes in figure.axes)  # two bones, true and predicted
    first_box = [axes.get_xlim() for axes in figure.axes[:2]]
    assert first_box[0] == first_box[1]  # one camera for all variants
    save(plot_outputs(shown, "title"), tmp_path / "a.png")
    assert is_picture(tmp_path / "a.png")


def test_inputs_that_are_no_masked_targets_hide_nothing() -> None:
    assert not outputs((3, 6, 2), (2, 3)).hidden.any()  # of the target's shape
    assert not outputs((3, 6, 1), (2, 3)).hidden.any()


def test_pictures_and_poses_are_written_as_vectors_with_text(tmp_path: Path) -> None:
    written = save(plot_outputs(outputs((3, 6, 1), (2, 3)), "six pixels"), tmp_path / "a.svg").read_text()
    assert all(f">{word}<" in written for word in ("six pixels", "S6", "trivial", "target"))


def test_curves_are_in_the_units_of_the_data() -> None:
    target = np.linspace(-1.0, 1.0, 20).reshape(10, 2, 1)
    units = np.array([50.0]), np.array([10.0])
    mask = np.ones(target.shape, dtype=bool)
    shown = Outputs(target, target, mask, {"S2": target + 0.1}, None, list("ab"), units=units)
    truth, values = (line.get_ydata() for line in _curves(shown).axes[0].lines)
    assert truth == pytest.approx(50 + 10 * target[:, 0, 0])
    assert values == pytest.approx(51 + 10 * target[:, 0, 0])
