"""Lifting: windows of clips, samples projected on demand, draws, and clips that no camera could have taken."""

import pickle
from collections import Counter
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from datasets.cameras import ROOM, Cameras
from datasets.kinematic import random_poses
from datasets.lifting import Clips, Part, PoseLifting
from datasets.skeleton import HUMAN36M_16, Skeleton
from gnet.errors import ConfigError, DataError
from gnet.training.pose import ActionAverage

LENGTHS = (6, 1, 4)
"""Frames of the three clips of ``film``."""


def film(**changes: object) -> Clips:
    """Three clips of random poses, one frame of which is not usable."""
    frames = sum(LENGTHS)
    usable = torch.ones(frames, dtype=torch.bool)
    usable[2] = False
    settings = {
        "positions": random_poses(frames, 0.3, torch.Generator().manual_seed(1)),
        "start": torch.tensor([0, 6, 7, 11]),
        "usable": usable,
        "rig": torch.zeros(3, dtype=torch.long),
        "names": ("a", "b", "c"),
        "actions": ("walk", "sit", "walk"),
        "num_views": 4,
    }
    return Clips(**{**settings, **changes})


class Film(PoseLifting):
    """The same clips in all three splits."""

    content: Clips | None = None

    @property
    def skeleton(self) -> Skeleton:
        return HUMAN36M_16

    def clips(self) -> tuple[Mapping[Part, Clips], Cameras]:
        return dict.fromkeys(("train", "val", "test"), self.content or film()), Cameras(ROOM)


def frames_of(module: PoseLifting, split: str = "test") -> list[tuple[str, int, int]]:
    names, frames, views = zip(*(label.split(":") for label in module.sample_labels(split)), strict=True)
    return list(zip(names, map(int, frames), map(int, views), strict=True))


# --- windows ---


def test_windows_stay_in_a_clip_and_leave_unusable_frames_out():
    clips = film()
    assert clips.windows(1).tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10]
    assert clips.windows(3).tolist() == [4, 8, 9]
    assert clips.windows(5).tolist() == []
    for num_frames in (1, 3):
        for middle in clips.windows(num_frames).tolist():
            window = torch.arange(middle - num_frames // 2, middle + num_frames // 2 + 1)
            assert len(clips.clip_of(window).unique()) == 1
            assert clips.usable[window].all()


def test_every_nth_frame_is_counted_in_each_clip():
    clips = film(usable=torch.ones(11, dtype=torch.bool))
    assert clips.windows(1, every=3).tolist() == [0, 3, 6, 7, 10]
    assert clips.windows(3, every=2).tolist() == [1, 3, 8]


# --- samples ---


def test_a_sample_is_a_frame_in_the_image_of_a_camera():
    module, clips, cameras = Film(), film(), Cameras(ROOM)
    batch = module.test_arrays()
    assert batch.x.shape == (40, 16, 2)
    assert batch.y.shape == (40, 16, 3)
    assert batch.mask.all()
    for row, (name, frame, view) in enumerate(frames_of(module)):
        world = clips.positions[int(clips.start[clips.names.index(name)]) + frame]
        camera = ROOM[view]
        seen = (world.double() - camera.position) @ camera.rotation.T
        flat = camera.focal * seen[:, :2] / seen[:, 2:] + camera.centre
        x = 2 * flat / 1920 - torch.tensor([1, 1080 / 1920]).double()
        torch.testing.assert_close(batch.x[row].double(), x, atol=1e-5, rtol=0)
        millimetres = module.scaling.y.inverse(batch.y[row]).double()
        torch.testing.assert_close(millimetres, seen - seen[0], atol=1e-2, rtol=0)
    assert (batch.y[:, 0] == 0).all()
    assert len(cameras) == 4
    assert module.scaling.y.std.tolist() == [1000] * 3
    assert module.scaling.y.mean.tolist() == [0] * 3
    assert module.scaling.x.std.tolist() == [1] * 2


def test_windows_are_channels_in_the_order_of_time():
    one, three = Film(), Film(num_frames=3)
    assert three.in_channels == 6
    assert [frame for _, frame, _ in frames_of(three)][::4] == [4, 1, 2]
    at = {place: row for row, place in enumerate(frames_of(one))}
    batch, single = three.test_arrays(), one.test_arrays()
    for row, (name, frame, view) in enumerate(frames_of(three)):
        rows = [at[name, frame + step, view] for step in (-1, 0, 1)]
        torch.testing.assert_close(batch.x[row], torch.cat([single.x[each] for each in rows], dim=1))
        torch.testing.assert_close(batch.y[row], single.y[rows[1]])


def test_batches_are_cut_from_the_whole():
    module = Film(batch_size=7)
    whole = module.test_arrays()
    parts = list(module.test_dataloader())
    assert [len(part.x) for part in parts] == [7] * 5 + [5]
    torch.testing.assert_close(torch.cat([part.x for part in parts]), whole.x)
    torch.testing.assert_close(torch.cat([part.y for part in parts]), whole.y)
    shuffled = torch.cat([part.y for part in module.train_dataloader()])
    assert not torch.equal(shuffled, whole.y)
    torch.testing.assert_close(shuffled.sum((0, 2)), whole.y.sum((0, 2)), rtol=1e-4, atol=1e-4)
    copied = pickle.loads(pickle.dumps(module.samples("test")))
    assert torch.equal(copied.all().x, whole.x)


def test_labels_are_written_when_asked_for():
    module = Film()
    labels = module.prepared.labels["test"]
    assert labels[0] == "a:0:0"
    assert labels[5] == "a:1:1"
    assert labels[-1] == "c:3:3"
    assert labels[18:22] == ["a:5:2", "a:5:3", "b:0:0", "b:0:1"]
    assert len(labels) == len(module.samples("test"))
    assert len(set(labels)) == 40
    assert list(labels) == [labels[row] for row in range(40)] == labels[:] == labels[-40:]
    assert labels[::-1] == list(labels)[::-1]
    with pytest.raises(IndexError):
        labels[40]


def test_given_pixels_replace_the_projection():
    clips = film()
    pixels = torch.rand(4, 11, 16, 2, generator=torch.Generator().manual_seed(0)) * 1000
    module, projected = Film(), Film()
    module.content = film(pixels=pixels)
    batch = module.test_arrays()
    for row, (name, frame, view) in enumerate(frames_of(module)):
        at = int(clips.start[clips.names.index(name)]) + frame
        torch.testing.assert_close(batch.x[row], 2 * pixels[view, at] / 1920 - torch.tensor([1, 1080 / 1920]))
    assert torch.equal(batch.y, projected.test_arrays().y)


def test_joined_clips_are_the_clips():
    one, other = film(), film(names=("d", "e", "f"), rig=torch.ones(3, dtype=torch.long))
    both = Clips.joined([one, other])
    assert both.start.tolist() == [0, 6, 7, 11, 17, 18, 22]
    assert both.names == ("a", "b", "c", "d", "e", "f")
    assert both.rig.tolist() == [0, 0, 0, 1, 1, 1]
    assert both.windows(3).tolist() == [4, 8, 9, 15, 19, 20]
    assert both.clip_of(torch.arange(22)).bincount().tolist() == [*LENGTHS, *LENGTHS]


# --- what no camera could have taken ---


def spoiled(frame: int, joint: int, value: float) -> Tensor:
    positions = film().positions.clone()
    positions[frame, joint] = value
    return positions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": spoiled(8, 3, float("nan"))}, "clip c, frame 1: RFoot has a coordinate that is not finite"),
        ({"positions": spoiled(6, 9, float("inf"))}, "clip b, frame 0: Head has a coordinate that is not finite"),
        (
            {
                "pixels": torch.zeros(4, 11, 16, 2).index_put(
                    (torch.tensor(2), torch.tensor(7), torch.tensor(3)), torch.tensor(torch.nan)
                )
            },
            "clip c, frame 0: RFoot has a pixel of camera 2 that is not finite; mark the frame as a glitch",
        ),
        (
            {"positions": film().positions + 9000 * (torch.arange(11) == 10)[:, None, None]},
            "clip c, frame 3: Hip is not in front of camera 0; check the axes and the unit",
        ),
        (
            {"positions": film().positions / 1000},
            "clip a, frame 0: bones of 0.2.. mm on average; expected 50 to 1000: convert the unit",
        ),
        ({"usable": torch.zeros(11, dtype=torch.bool)}, "no frame to train on: of 11 in 3 clips none is the middle of 1 usable"),
    ],
)
def test_impossible_clips(changes, message):
    module = Film()
    module.content = film(**changes)
    with pytest.raises(DataError, match=message):
        module.setup()


def test_frames_that_are_left_out_may_hold_anything():
    module = Film()
    module.content = film(positions=spoiled(2, 3, float("nan")))
    assert module.test_arrays().x.isfinite().all()
    wide = Film(num_frames=3)
    wide.content = module.content
    assert wide.test_arrays().x.isfinite().all()


def test_no_window_fits():
    with pytest.raises(DataError, match="none is the middle of 7 usable ones; lower num_frames or add subjects"):
        Film(num_frames=7).setup()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 2}, "expected an odd num_frames, so that a window has a middle, got 2; take 3"),
        ({"every": 0}, "expected every to be a whole number >= 1, got 0"),
        ({"every": 2.5}, r"expected every to be a whole number >= 1, got 2\.5"),
        ({"num_frames": 3.0}, r"expected num_frames to be a whole number >= 1, got 3\.0"),
        ({"num_train": 1.5}, r"expected num_train to be a whole number >= 1, got 1\.5"),
        ({"num_train": 0}, "expected num_train to be a whole number >= 1, got 0"),
        ({"num_train": 41}, "num_train=41, but there are only 40 samples to draw from; lower it"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        Film(**options).setup()


# --- draws ---


def test_other_draws_take_other_clips_with_replacement():
    kept = {draw: Counter(name for name, _, _ in frames_of(Film(draw=draw), "train")) for draw in range(12)}
    assert kept[0] == {"a": 20, "b": 4, "c": 16}
    for counts in kept.values():
        copies = [counts[name] / kept[0][name] for name in "abc"]
        assert all(each == int(each) for each in copies)
        assert sum(copies) == 3
    assert len({tuple(sorted(each.items())) for each in kept.values()}) > 3
    assert {tuple(frames_of(Film(draw=draw))) for draw in range(4)} == {tuple(frames_of(Film()))}


def test_num_train_draws_a_subset():
    chosen = [frames_of(Film(num_train=10, draw=draw), "train") for draw in (0, 1)]
    assert [len(set(each)) for each in chosen] == [10, 10]
    assert set(chosen[0]) != set(chosen[1])
    assert frames_of(Film(num_train=10, seed=3), "train") == chosen[0]


# --- actions and metrics ---


def test_metrics_over_frames_and_over_actions():
    module = Film(action_average=True)
    names, actions = module.actions("test")
    assert names == ["sit", "walk"]
    assert actions.bincount().tolist() == [4, 36]
    assert set(Film().metrics()) == {"mpjpe_mm", "p_mpjpe_mm"}
    metrics = module.metrics()
    assert set(metrics) == {"mpjpe_mm", "p_mpjpe_mm", "mpjpe_mm_actions", "p_mpjpe_mm_actions"}
    batch = module.test_arrays()
    target = module.scaling.y.inverse(batch.y)
    off = torch.where(actions == 0, 50.0, 10.0)[:, None, None] * torch.tensor([1.0, 0.0, 0.0])
    off = off * (torch.arange(16) > 0)[:, None]  # the root is where it should be
    for metric in metrics.values():
        metric.update(target + off, target, batch.mask)
    found = {name: float(metric.compute()) for name, metric in metrics.items()}
    assert found["mpjpe_mm"] == pytest.approx(15 / 16 * (4 * 50 + 36 * 10) / 40, rel=1e-4)
    assert found["mpjpe_mm_actions"] == pytest.approx(15 / 16 * 30, rel=1e-4)
    assert found["p_mpjpe_mm"] < found["mpjpe_mm"]
    assert isinstance(metrics["p_mpjpe_mm_actions"], ActionAverage)


def test_metrics_are_re_rooted_and_new_every_time():
    module = Film()
    target = module.scaling.y.inverse(module.test_arrays().y)
    metric = module.metrics()["mpjpe_mm"]
    metric.update(target + 100, target)
    assert metric.compute() < 1e-3
    assert module.metrics()["mpjpe_mm"] is not metric
