"""MNIST inpainting: the published protocol, 80 + 20 training images and 1000 test images of 28 x 28 pixels."""

from typing import Any, ClassVar

from .idx import IdxInpainting, IdxSource


class MNIST(IdxInpainting):
    """MNIST, 28 x 28 pixels, with a square of side 14 hidden.

    The defaults are the published protocol but for ``test_masks``, which the published tables draw anew for every run ("run").

    Args:
        mask_side: side of the hidden square in pixels.
        options: see ``IdxInpainting``.

    References:
        LeCun, Bottou, Bengio and Haffner (1998), doi:10.1109/5.726791: the images.
        Huang, Levie and Villar (2023), arXiv:2308.10436: the task.
    """

    name_of_data: ClassVar[str] = "MNIST"
    licence: ClassVar[str] = "CC BY-SA 3.0 (Yann LeCun and Corinna Cortes, after NIST)"
    normalisation: ClassVar[tuple[float, float] | None] = (0.1307, 0.3081)
    idx: ClassVar[IdxSource] = IdxSource(
        folder="mnist",
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        sha256={
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    )

    def __init__(self, mask_side: int = 14, **options: Any) -> None:
        super().__init__(mask_side=mask_side, **options)
