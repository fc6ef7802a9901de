"""The data modules that ship with gnet (digits, a user's own files, planted tasks), and the way to the repository's own."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from gnet.errors import DataError
from gnet.training.datamodule import ArraySamples, Batch, GraphDataModule, Prepared, Samples, SeededSampler, Split, Target
from gnet.training.files import FromFiles
from gnet.training.inpainting import POOL_STATE, ImageInpainting, Images, grid_graph, stratified
from gnet.training.planted import Planted
from gnet.training.planted_traffic import PlantedTraffic

__all__ = [
    "ArraySamples",
    "Batch",
    "Digits",
    "FromFiles",
    "GraphDataModule",
    "ImageInpainting",
    "Images",
    "Planted",
    "PlantedTraffic",
    "Prepared",
    "Samples",
    "SeededSampler",
    "Split",
    "Target",
    "grid_graph",
    "repository_datasets",
]


class Digits(ImageInpainting):
    """Inpainting of the 8 x 8 digits that come inside scikit-learn: nothing to fetch, a fit takes seconds.

    Of the 1797 images ``NUM_HELD_OUT`` are set aside for testing, the same always; training images are drawn from the rest.
    They are normalised by the mean and std of that rest, not of the images drawn: so the predictions of different draws have
    one unit.

    Args:
        mask_side: side of the hidden square in pixels; 4 hides a quarter of the image.
        num_test: images to test on, at most 487.
        options: see ``ImageInpainting``; ``root`` is not used.

    Example:
        >>> digits = Digits()
        >>> digits.train_arrays().x.shape, digits.graph.num_nodes, digits.grid_shape
        (torch.Size([80, 64, 1]), 64, (8, 8))
    """

    NUM_HELD_OUT = 497

    def __init__(self, mask_side: int = 4, num_test: int = 400, **options: Any) -> None:
        super().__init__(mask_side, num_test=num_test, **options)

    def images(self) -> Images:
        """The digits in [0, 1], cut once and for all into the pools for training and for testing."""
        from sklearn.datasets import load_digits

        source = load_digits()
        images, labels = torch.as_tensor(source.images).float() / 16, torch.as_tensor(source.target)
        held_out = stratified(labels, self.NUM_HELD_OUT, POOL_STATE).sort().values
        others = torch.ones(len(labels), dtype=torch.bool).index_fill_(0, held_out, False).nonzero().flatten()
        return Images(images[others], labels[others], images[held_out], labels[held_out], others, held_out)

    def describe(self) -> dict[str, Any]:
        """The data card."""
        return {
            "name": "Digits",
            "source": "sklearn.datasets.load_digits: UCI handwritten digits (Alpaydin and Kaynak, 1998), test part",
            "licence": "none stated by scikit-learn; UCI's donation policy is CC BY 4.0",
            "shapes": "1797 images of 8 x 8 pixels: 64 nodes, 1 channel",
            "checksum": "embedded in scikit-learn",
            **super().describe(),
        }


def repository_datasets() -> ModuleType:
    """The repository's folder ``datasets``, whatever other package of that name is installed.

    Raises:
        DataError: gnet was installed as a wheel, which does not hold the folder.

    Example:
        >>> repository_datasets().MNIST.__name__
        'MNIST'
    """
    folder = Path(__file__).resolve().parents[2] / "datasets"
    init = folder / "__init__.py"
    loaded = sys.modules.get("datasets")
    if loaded is not None and _is_at(loaded, init):
        return loaded
    if not init.is_file():
        raise DataError(
            f"the folder datasets/ of the gnet repository is not at {folder}: "
            "clone the repository and install it with `pip install -e .`, since the wheel does not hold it"
        )
    # Under a name of its own: `datasets` may be, or become, someone else's package in this process.
    name = "gnet_repository_datasets"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise DataError(f"{init} cannot be imported; check out the repository again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _is_at(module: ModuleType, path: Path) -> bool:
    found = getattr(module, "__file__", None)
    return found is not None and Path(found).resolve() == path
