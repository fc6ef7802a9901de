"""Pictures are written for every kind of data, without a screen."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from gnet.study.plots import Outputs, _images, _skeletons, plot_bias_variance, plot_outputs
from gnet.study.tables import Summary


def summary(
    name: str, num_clusters: int, kind: str = "symmetry", loss: float = 1.0, error: float = 0.1, n: int = 5, num_draws: int = 1
) -> Summary:
    numbers = {
        "test_loss": loss,
        "test_loss_error": error,
        "bias2": 0.7,
        "bias2_error": error,
        "variance": 0.3,
        "variance_error": error,
    }
    empty = dict.fromkeys(
        ["test_loss_std", "val_loss", "val_loss_std", "variance_between_draws", "variance_between_seeds", "equivariance_error"],
        math.nan,
    )
    differences = dict.fromkeys(["difference", "difference_error", "difference_low", "difference_high"], math.nan)
    return Summary(
        symmetry=name,
        kind=kind,
        num_clusters=num_clusters,
        num_weights=5,
        n=n,
        num_draws=num_draws,
        num_pairs=0,
        num_units=0,
        seconds=1.0,
        **numbers,
        **empty,
        **differences,
    )


def is_picture(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 5000


@pytest.mark.parametrize("clusters", [(1, 4, 16), (1, 4, 4)], ids=["a curve", "two with as many clusters"])
def test_bias_and_variance_are_drawn(tmp_path: Path, clusters: tuple[int, ...]) -> None:
    summaries = [summary(f"v{place}", number, error=math.nan) for place, number in enumerate(clusters)]
    summaries += [summary("ridge", 16, "baseline", 0.8), summary("mean", 16, "baseline", 50.0)]
    plot_bias_variance(summaries, tmp_path / "a.png", "title")
    assert is_picture(tmp_path / "a.png")


@pytest.mark.parametrize(("n", "num_draws", "drawn"), [(5, 1, True), (4, 1, False), (20, 4, False), (20, 5, True)])
def test_bars_need_enough_independent_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, num_draws: int, drawn: bool
) -> None:
    bars = []
    errorbar = Axes.errorbar

    def noted(axes: Axes, *args: Any, yerr: Any, **kwargs: Any) -> Any:
        bars.append(np.isfinite(yerr).all())
        return errorbar(axes, *args, yerr=yerr, **kwargs)

    monkeypatch.setattr(Axes, "errorbar", noted)
    plot_bias_variance(
        [summary("a", 1, n=n, num_draws=num_draws), summary("b", 4, n=n, num_draws=num_draws)], tmp_path / "a.png", ""
    )
    assert bars == [drawn] * 3


def test_baselines_alone_are_no_curve(tmp_path: Path) -> None:
    plot_bias_variance([summary("ridge", 16, "baseline")], tmp_path / "a.png", "title")
    assert not (tmp_path / "a.png").exists()


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
    plot_outputs(outputs(shape, grid), tmp_path / "a.png", "title")
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
    plot_outputs(shown, tmp_path / "a.png", "title")
    assert is_picture(tmp_path / "a.png")


def test_inputs_that_are_no_masked_targets_hide_nothing() -> None:
    assert not outputs((3, 6, 2), (2, 3)).hidden.any()  # of the target's shape
    assert not outputs((3, 6, 1), (2, 3)).hidden.any()


def test_matplotlib_waits_until_something_is_drawn() -> None:
    code = "import sys, gnet.study, gnet.study.run, gnet.study.tables, gnet.study.command; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
