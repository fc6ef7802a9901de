"""Lifting of poses from 2-D to 3-D: the joints are the nodes of a skeleton, each frame seen by each camera is a sample."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torchmetrics import Metric

from gnet.counts import check_count
from gnet.errors import ConfigError, DataError
from gnet.randomness import derive_seed
from gnet.training.datamodule import Batch, GraphDataModule, Prepared, Samples, Split
from gnet.training.pose import MPJPE, PMPJPE, ActionAverage
from gnet.training.standardise import Scaling, Standardiser

from .cameras import Cameras
from .skeleton import Skeleton

Part = Literal["train", "val", "test"]
JOINTS = 16
NEAREST = 100.0
"""Millimetres a joint must be in front of a camera."""


@dataclass(frozen=True, eq=False)
class Clips:
    """Poses in world coordinates, clip after clip; joint 0 is the root.

    Clip c is the frames ``start[c]`` to ``start[c + 1]`` and is seen by the ``num_views`` cameras from number ``rig[c]`` on.

    Shapes:
        positions: (T, N, 3)    start: (C + 1,)    usable: bool (T,), False for frames to leave out    rig: (C,)
        names, actions: C texts    pixels: (V, T, N, 2), where the 2-D positions are given and not projected

    Units: millimetres and pixels.
    """

    positions: Tensor
    start: Tensor
    usable: Tensor
    rig: Tensor
    names: tuple[str, ...]
    actions: tuple[str, ...]
    num_views: int
    pixels: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence["Clips"]) -> "Clips":
        """One after the other; all have as many views, and all or none have pixels."""
        ends = torch.cat([torch.zeros(1, dtype=torch.long), torch.cat([part.start.diff() for part in parts]).cumsum(0)])
        given = [part.pixels for part in parts if part.pixels is not None]
        return cls(
            torch.cat([part.positions for part in parts]),
            ends,
            torch.cat([part.usable for part in parts]),
            torch.cat([part.rig for part in parts]),
            tuple(name for part in parts for name in part.names),
            tuple(action for part in parts for action in part.actions),
            parts[0].num_views,
            torch.cat(given, dim=1) if given else None,
        )

    def clip_of(self, frames: Tensor) -> Tensor:
        """The number of the clip that each frame is in."""
        return torch.bucketize(frames, self.start[1:], right=True)

    def windows(self, num_frames: int, every: int = 1) -> Tensor:
        """Middle frames of the windows of ``num_frames`` that lie in one clip and hold usable frames only, each ``every``-th.

        Example:
            >>> clips = Clips(torch.zeros(7, 1, 3), torch.tensor([0, 4, 7]), torch.ones(7).bool(), torch.zeros(2).long(),
            ...               ("a", "b"), ("", ""), 1)
            >>> clips.windows(3), clips.windows(1, every=3)
            (tensor([1, 2, 5]), tensor([0, 3, 4]))
        """
        half = num_frames // 2
        frames = torch.arange(len(self.positions))
        clip = self.clip_of(frames)
        first, last = self.start[clip] + half, self.start[clip + 1] - half
        inside = (frames >= first) & (frames < last) & ((frames - first) % every == 0)
        bad = torch.cat([torch.zeros(1, dtype=torch.long), (~self.usable).long().cumsum(0)])
        frames = frames[inside]
        return frames[bad[frames + half + 1] == bad[frames - half]]

    def check(self, skeleton: Skeleton, cameras: Cameras) -> None:
        """Refuse usable frames that no camera could have taken, or whose given pixels are not all there.

        Raises:
            DataError: a coordinate that is not finite, bones of impossible length, or a joint behind a camera.
        """
        at = self.usable.nonzero().flatten()
        poses = self.positions[at]
        self._refuse(at, ~poses.isfinite().all(-1), skeleton, "has a coordinate that is not finite; mark the frame as a glitch")
        size = skeleton.bone_lengths(poses).mean(-1)
        wrong = ((size < 50) | (size > 1000)).nonzero().flatten()
        if len(wrong):
            where = self._place(int(at[wrong[0]]))
            raise DataError(f"{where}: bones of {float(size[wrong[0]]):.3g} mm on average; expected 50 to 1000: convert the unit")
        for view in range(self.num_views):
            if self.pixels is not None:
                unknown = ~self.pixels[view, at].isfinite().all(-1)
                self._refuse(
                    at, unknown, skeleton, f"has a pixel of camera {view} that is not finite; mark the frame as a glitch"
                )
            which = self.rig[self.clip_of(at)] + view
            depth = torch.cat(
                [cameras.seen(*part)[..., 2] for part in zip(poses.split(4096), which.split(4096), strict=True)]
                or [poses[..., 2]]
            )
            self._refuse(at, depth < NEAREST, skeleton, f"is not in front of camera {view}; check the axes and the unit")

    def _refuse(self, at: Tensor, wrong: Tensor, skeleton: Skeleton, message: str) -> None:
        if wrong.any():
            row, joint = (int(each) for each in wrong.nonzero()[0])
            raise DataError(f"{self._place(int(at[row]))}: {skeleton.names[joint]} {message}")

    def _place(self, frame: int) -> str:
        clip = int(self.clip_of(torch.tensor([frame])))
        return f"clip {self.names[clip]}, frame {frame - int(self.start[clip])}"


class LiftingSamples(Samples):
    """Samples that are projected when they are asked for: only positions in the world and cameras are kept.

    Shapes:
        frames: (M,) middle frames    views: (M,) cameras of the clip, from 0
    """

    def __init__(self, clips: Clips, cameras: Cameras, frames: Tensor, views: Tensor, num_frames: int, units: Standardiser):
        self.clips, self.cameras, self.frames, self.views, self.units = clips, cameras, frames, views, units
        self.offsets = torch.arange(num_frames) - num_frames // 2

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, indices: Any) -> Batch:
        middle, view = self.frames[indices], self.views[indices]
        which = self.clips.rig[self.clips.clip_of(middle)] + view
        window = middle.unsqueeze(1) + self.offsets  # (B, F)
        points = self.clips.positions[window]  # (B, F, N, 3)
        size, steps, joints, _ = points.shape
        seen = self.cameras.seen(points.flatten(1, 2), which)
        if self.clips.pixels is None:
            pixels = self.cameras.pixels(seen, which)
        else:
            pixels = self.clips.pixels[view.unsqueeze(1), window].flatten(1, 2)
        flat = self.cameras.normalised(pixels, which).reshape(size, steps, joints, 2)
        pose = seen.reshape(size, steps, joints, 3)[:, steps // 2]
        target = self.units(pose - pose[:, :1])
        return Batch(flat.transpose(1, 2).flatten(2), target, torch.ones_like(target, dtype=torch.bool))


class Labels(Sequence[str]):
    """``clip:frame:camera`` of each sample, written when asked for: Human3.6M has two million."""

    def __init__(self, samples: LiftingSamples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self._written(torch.arange(*index.indices(len(self))))
        return self._written(torch.tensor([range(len(self))[index]]))[0]

    def __iter__(self) -> Iterator[str]:
        for rows in torch.arange(len(self)).split(4096):
            yield from self._written(rows)

    def _written(self, rows: Tensor) -> list[str]:
        frames, clips = self.samples.frames[rows], self.samples.clips
        clip = clips.clip_of(frames)
        parts = (clip.tolist(), (frames - clips.start[clip]).tolist(), self.samples.views[rows].tolist())
        return [f"{clips.names[name]}:{frame}:{view}" for name, frame, view in zip(*parts, strict=True)]


class PoseLifting(GraphDataModule):
    """2-D joints in the image of a camera to 3-D joints in the coordinates of that camera, relative to the root.

    The input is 2 u / w - (1, h / w) of the middle frame, or of ``num_frames`` consecutive ones, one after the other in the
    channels; the target is the middle frame in millimetres, of which a thousand are one model unit: the net works in metres.
    The root, joint 0, is the origin of the targets. A net need not put it there: predictions are as the net makes them, and MPJPE
    subtracts their joint 0 first (``gnet.training.pose.rerooted``).

    ``draw`` 0 trains on the frames as they are, every other one on a bootstrap sample of the clips (frames of one clip are too
    alike to be drawn one by one); with ``num_train`` each draw is another subset of that size.

    Args:
        every: take each n-th frame of a clip as a middle frame, everywhere.
        num_frames: frames of the input, an odd number; windows stay in one clip and hold no frame that is left out.
        num_train: training samples (a frame seen by a camera), drawn by ``draw``; None takes all.
        action_average: measure the mean over actions too, beside that over frames; the test samples must then come in order,
            in one process, as the test loader gives them.
        options: see ``GraphDataModule``.

    Raises:
        ConfigError: an even number of frames, or numbers that are below 1 or not whole.
        DataError: clips that no camera could have taken (when set up).
    """

    def __init__(
        self,
        every: int = 1,
        num_frames: int = 1,
        num_train: int | None = None,
        action_average: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_count(every=every, num_frames=num_frames, **({} if num_train is None else {"num_train": num_train}))
        if num_frames % 2 == 0:
            raise ConfigError(
                f"expected an odd num_frames, so that a window has a middle, got {num_frames}; take {num_frames + 1}"
            )
        self.every, self.num_frames, self.num_train = every, num_frames, num_train
        self.action_average = action_average

    @property
    def skeleton(self) -> Skeleton:
        """Joints, bones and pairs."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its skeleton is: override skeleton")

    def clips(self) -> tuple[Mapping[Part, Clips], Cameras]:
        """The clips of each split, and all cameras their rigs count through."""
        raise NotImplementedError(f"{type(self).__name__} does not say where its clips are: override clips()")

    @property
    def parents(self) -> tuple[int, ...]:
        """The parent of each joint, -1 for the root."""
        return self.skeleton.parents

    @property
    def left(self) -> tuple[int, ...]:
        """The joints of the left side."""
        return self.skeleton.left

    @property
    def right(self) -> tuple[int, ...]:
        """Their partners on the right, in the same order."""
        return self.skeleton.right

    @property
    def bones(self) -> Tensor:
        """The edges of the skeleton, which a study draws."""
        return self.skeleton.graph().edge_index

    def build(self) -> Prepared:
        """Read the clips and choose the samples; nothing is projected yet."""
        skeleton, (clips, cameras) = self.skeleton, self.clips()
        scaling = Scaling(Standardiser.identity(2 * self.num_frames), Standardiser([0.0] * 3, [1000.0] * 3))
        samples: dict[Split, Samples] = {}
        labels: dict[Split, Sequence[str]] = {}
        for part, each in clips.items():
            each.check(skeleton, cameras)
            frames, views = self._pairs(each, redraw=part == "train")
            if len(frames) == 0:
                raise DataError(
                    f"no frame to {part} on: of {len(each.positions)} in {len(each.names)} clips none is the middle of "
                    f"{self.num_frames} usable ones; lower num_frames or add subjects"
                )
            chosen = LiftingSamples(each, cameras, frames, views, self.num_frames, scaling.y)
            samples[part], labels[part] = chosen, Labels(chosen)
        samples["predict"], labels["predict"] = samples["test"], labels["test"]
        return Prepared(skeleton.graph(), scaling, samples, labels, list(skeleton.names))

    def _pairs(self, clips: Clips, *, redraw: bool) -> tuple[Tensor, Tensor]:
        """Middle frames and views of the samples, (M,) each; cameras change fastest."""
        frames = clips.windows(self.num_frames, self.every)
        views = clips.num_views
        generator = torch.Generator().manual_seed(derive_seed(self.draw, "draw"))
        if redraw and self.draw > 0 and self.num_train is None:
            frames = self.redrawn(clips, frames, generator)
        pairs = torch.arange(len(frames) * views)
        if redraw and self.num_train is not None:
            if self.num_train > len(pairs):
                raise ConfigError(f"num_train={self.num_train}, but there are only {len(pairs)} samples to draw from; lower it")
            pairs = torch.randperm(len(pairs), generator=generator)[: self.num_train]
        return frames[pairs // views], pairs % views

    def redrawn(self, clips: Clips, frames: Tensor, generator: torch.Generator) -> Tensor:
        """The frames of as many clips, drawn with replacement."""
        clip = clips.clip_of(frames)
        drawn = torch.randint(len(clips.names), (len(clips.names),), generator=generator)
        return torch.cat([frames[clip == each] for each in drawn])

    def actions(self, split: Split) -> tuple[list[str], Tensor]:
        """The names of the actions of a split, and the number of its action for each sample, (M,)."""
        samples = self.samples(split)
        if not isinstance(samples, LiftingSamples):
            raise DataError(f"the split {split!r} has no clips, so its samples have no actions")
        names = sorted(set(samples.clips.actions))
        number = torch.tensor([names.index(action) for action in samples.clips.actions])
        return names, number[samples.clips.clip_of(samples.frames)]

    def metrics(self) -> dict[str, Metric]:
        """MPJPE after re-rooting and P-MPJPE, in millimetres, over frames, and with ``action_average`` over actions."""
        found: dict[str, Metric] = {"mpjpe_mm": MPJPE(reroot=True), "p_mpjpe_mm": PMPJPE()}
        if self.action_average:
            names, actions = self.actions("test")
            for name, metric in (("mpjpe_mm_actions", MPJPE(reroot=True)), ("p_mpjpe_mm_actions", PMPJPE())):
                found[name] = ActionAverage(metric, actions, len(names))
        return found

    def describe(self) -> dict[str, Any]:
        """The data card, as far as all lifting tasks share it."""
        frames = "" if self.num_frames == 1 else f" of {self.num_frames} consecutive frames"
        return {
            "shapes": f"{JOINTS} joints: 2-D{frames} -> 3-D",
            "units": "2 u / w - (1, h / w) of an image of w x h pixels; millimetres from the hip in camera coordinates",
            "task": "frame by frame: where each joint is, from where each is in the image",
        }
