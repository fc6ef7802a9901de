"""Inpainting of images: the pixels are the nodes of a grid graph, a square of each image is hidden, the target is the image."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch_geometric.data import Data

from gnet.errors import ConfigError, DataError
from gnet.nn.checks import check_choice
from gnet.randomness import derive_seed, streams
from gnet.training.datamodule import ArraySamples, GraphDataModule, Prepared, Samples, Split
from gnet.training.standardise import Scaling, Standardiser

TestMasks = Literal["study", "run"]
POOL_STATE = 999
"""Random state of the published training and test images; draw d takes 999 + d."""


@dataclass(frozen=True)
class Images:
    """A pool to draw training images from and a pool to draw test images from, with their classes.

    Shapes:
        train, test: (M, H, W) in [0, 1], or uint8 in 0..255    train_labels, test_labels: (M,) integers
        train_ids, test_ids: (M,) the images' numbers in their source; None counts from 0

    Raises:
        DataError: not as many classes as images.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    train_ids: Tensor | None = None
    test_ids: Tensor | None = None

    def __post_init__(self) -> None:
        for name, images, labels in (("train", self.train, self.train_labels), ("test", self.test, self.test_labels)):
            if images.ndim != 3 or labels.shape != images.shape[:1]:
                raise DataError(
                    f"expected {name} images (M, H, W) and as many labels, got {tuple(images.shape)} and {tuple(labels.shape)}"
                )


def grid_graph(height: int, width: int) -> Data:
    """The pixels of an image, row by row, each joined to its 4 neighbours; ``pos`` is (row, column).

    Example:
        >>> grid_graph(2, 3).edge_index
        tensor([[0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5],
                [1, 3, 0, 2, 4, 1, 5, 0, 4, 1, 3, 5, 2, 4]])
    """
    pixel = torch.arange(height * width).reshape(height, width)
    across = torch.stack([pixel[:, :-1].flatten(), pixel[:, 1:].flatten()])
    down = torch.stack([pixel[:-1].flatten(), pixel[1:].flatten()])
    one_way = torch.cat([across, down], dim=1)
    edges = torch.cat([one_way, one_way.flip(0)], dim=1)
    order = torch.argsort(edges[0] * height * width + edges[1])
    pos = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float().reshape(-1, 2)
    return Data(edge_index=edges[:, order], num_nodes=height * width, pos=pos)


def draw_corners(num_images: int, shape: tuple[int, int], side: int, generator: torch.Generator) -> Tensor:
    """Upper left corners (row, column) of the hidden squares, (num_images, 2), uniform in 0..H-side-1 and 0..W-side-1.

    The upper bound is exclusive, as in the published protocol: the last row and column are never hidden.

    Example:
        >>> draw_corners(1000, (28, 28), 20, torch.Generator().manual_seed(0)).max()
        tensor(7)
    """
    rows = torch.randint(0, shape[0] - side, (num_images,), generator=generator)
    columns = torch.randint(0, shape[1] - side, (num_images,), generator=generator)
    return torch.stack([rows, columns], dim=1)


def hidden_pixels(corners: Tensor, shape: tuple[int, int], side: int) -> Tensor:
    """True in the square of ``side`` that starts at each corner.

    Shapes:
        corners: (M, 2)    returns: (M, H, W) bool

    Example:
        >>> hidden_pixels(torch.tensor([[0, 1]]), (2, 4), 2).int()
        tensor([[[0, 1, 1, 0],
                 [0, 1, 1, 0]]], dtype=torch.int32)
    """
    row = torch.arange(shape[0]) - corners[:, :1]  # (M, H), counted from the corner
    column = torch.arange(shape[1]) - corners[:, 1:]  # (M, W)
    return ((row >= 0) & (row < side)).unsqueeze(2) & ((column >= 0) & (column < side)).unsqueeze(1)


def stratified(labels: Tensor, size: int, random_state: int) -> Tensor:
    """Indices of ``size`` images, drawn so that every class has its share: scikit-learn's ``train_test_split``.

    Raises:
        ConfigError: not at least one image of every class on both sides.
    """
    classes = len(torch.unique(labels))
    if not classes <= size <= len(labels) - classes:
        raise ConfigError(
            f"expected between {classes} (one image of each class) and {len(labels) - classes} images "
            f"to draw from {len(labels)}, got {size}"
        )
    chosen, _ = train_test_split(
        np.arange(len(labels)), train_size=size, random_state=random_state, shuffle=True, stratify=labels.numpy()
    )
    return torch.as_tensor(chosen)


class ImageInpainting(GraphDataModule):
    """A square of every image is set to 0 after normalisation (mid-grey, not background); the target is the clean image.

    The loss counts all pixels. The training set is ``num_train + num_val`` images drawn by ``draw``, stratified by class,
    cut at random by ``seed``; the test images are the same always. Every image has one square for the whole run.

    Args:
        mask_side: side of the hidden square in pixels.
        num_train: images to train on.
        num_val: images to choose the epoch by.
        num_test: images to test on.
        test_masks: "study" draws the squares of the test images from ``study_seed``, the same for every run; "run" from
            ``seed``, as in the published tables. Predictions are always made with those of the study.
        hflip: mirror each image left to right with probability 1/2, before everything else; fixed by ``study_seed``.
        options: see ``GraphDataModule``.

    References:
        Huang, Levie and Villar (2023), arXiv:2308.10436, and its released code.
    """

    normalisation: ClassVar[tuple[float, float] | None] = None
    """Mean and std of the pixels in [0, 1]; None computes them from the pool of training images."""

    def __init__(
        self,
        mask_side: int,
        num_train: int = 80,
        num_val: int = 20,
        num_test: int = 1000,
        test_masks: TestMasks = "study",
        hflip: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if min(num_train, num_val, num_test) < 1:
            raise ConfigError(f"expected num_train, num_val, num_test >= 1, got {num_train}, {num_val}, {num_test}")
        check_choice("test_masks", test_masks, TestMasks)
        self.mask_side, self.test_masks, self.hflip = mask_side, test_masks, hflip
        self.num_train, self.num_val, self.num_test = num_train, num_val, num_test

    def images(self) -> Images:
        """The pools of images; a subclass reads them."""
        raise NotImplementedError(f"{type(self).__name__} does not say where its images are: override images()")

    def build(self) -> Prepared:
        """Draw the images, normalise and mask them."""
        pool = self.images()
        shape = (int(pool.train.shape[1]), int(pool.train.shape[2]))
        if not 1 <= self.mask_side < min(shape):
            raise ConfigError(f"expected mask_side in 1..{min(shape) - 1} for images of {shape}, got {self.mask_side}")
        chosen = stratified(pool.train_labels, self.num_train + self.num_val, POOL_STATE + self.draw)
        tested = stratified(pool.test_labels, self.num_test, POOL_STATE)
        mean, std = self.normalisation or _moments(pool.train)
        one = self.trained_units(channels=1) or Standardiser(torch.tensor([mean]), torch.tensor([std]))
        clean, clean_test = (
            one(_as_floats(self._flipped(images, name)[index]).flatten(1).unsqueeze(2))  # (M, N, 1)
            for images, index, name in ((pool.train, chosen, "train"), (pool.test, tested, "test"))
        )
        cut = torch.randperm(len(chosen), generator=streams(self.seed)["split"])
        parts: dict[Split, Tensor] = {"train": cut[: self.num_train], "val": cut[self.num_train :]}
        # The square belongs to the image, not to its place in the cut: one for each, in the order drawn.
        masked = self._masked(clean, shape, streams(self.seed)["mask"])
        samples: dict[Split, Samples] = {split: ArraySamples(masked[part], clean[part]) for split, part in parts.items()}
        by_study, by_run = (
            torch.Generator().manual_seed(derive_seed(seed, "mask", "test")) for seed in (self.study_seed, self.seed)
        )
        samples["predict"] = ArraySamples(self._masked(clean_test, shape, by_study), clean_test)
        per_run = self.test_masks == "run"
        samples["test"] = ArraySamples(self._masked(clean_test, shape, by_run), clean_test) if per_run else samples["predict"]
        train_ids, test_ids = (
            (index if ids is None else ids[index]) for index, ids in ((chosen, pool.train_ids), (tested, pool.test_ids))
        )
        labels: dict[Split, list[str]] = {split: [str(i) for i in train_ids[part].tolist()] for split, part in parts.items()}
        labels["test"] = labels["predict"] = [str(i) for i in test_ids.tolist()]
        nodes = [f"{row},{column}" for row in range(shape[0]) for column in range(shape[1])]
        return Prepared(grid_graph(*shape), Scaling(one, one), samples, labels, nodes, "node", shape)

    def denormalise(self, values: Tensor) -> Tensor:
        """Images in [0, 1] for plotting.

        Shapes:
            values: (*, N, 1) in model units    returns: (*, H, W)
        """
        shape = self.grid_shape
        if shape is None:
            raise DataError(f"{type(self).__name__} has no grid, so its signals are no images")
        return self.scaling.y.inverse(values).clamp(0, 1).squeeze(-1).unflatten(-1, shape)

    def describe(self) -> dict[str, Any]:
        """The data card, as far as all inpainting tasks share it."""
        return {
            "units": "brightness, 0 black to 1 white",
            "splits": (
                f"{self.num_train} train + {self.num_val} validation images drawn with random state {POOL_STATE + self.draw}, "
                f"cut by seed {self.seed}; {self.num_test} test images with random state {POOL_STATE}; all stratified by class"
            ),
            "task": f"a square of side {self.mask_side} is hidden, the error counts all pixels",
        }

    def _masked(self, clean: Tensor, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        corners = draw_corners(len(clean), shape, self.mask_side, generator)
        return clean.masked_fill(hidden_pixels(corners, shape, self.mask_side).flatten(1).unsqueeze(2), 0.0)

    def _flipped(self, images: Tensor, pool: str) -> Tensor:
        if not self.hflip:
            return images
        # Decided for the whole pool, so that an image is mirrored or not whichever draw it is in.
        generator = torch.Generator().manual_seed(derive_seed(self.study_seed, "hflip", pool))
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        return torch.where(mirrored[:, None, None], images.flip(2), images)


def _as_floats(images: Tensor) -> Tensor:
    return images if images.is_floating_point() else images.float() / 255


def _moments(images: Tensor) -> tuple[float, float]:
    pixels = _as_floats(images).double()
    return float(pixels.mean()), float(pixels.std(correction=0))
