"""Fashion-MNIST inpainting: the published protocol, 80 + 20 training images and 1000 test images of 28 x 28 pixels."""

from typing import Any, ClassVar

from .idx import IdxInpainting, IdxSource


class FashionMNIST(IdxInpainting):
    """Fashion-MNIST, 28 x 28 pixels, with a square of side 20 hidden.

    The defaults are the published protocol but for ``test_masks``, which the published tables draw anew for every run ("run").

    Args:
        mask_side: side of the hidden square in pixels.
        options: see ``IdxInpainting``.

    References:
        Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747: the images.
        Huang, Levie and Villar (2023), arXiv:2308.10436: the task.
    """

    name_of_data: ClassVar[str] = "Fashion-MNIST"
    licence: ClassVar[str] = "MIT (Zalando SE)"
    normalisation: ClassVar[tuple[float, float] | None] = (0.5, 0.5)
    idx: ClassVar[IdxSource] = IdxSource(
        folder="fashion-mnist",
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        sha256={
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    )

    def __init__(self, mask_side: int = 20, **options: Any) -> None:
        super().__init__(mask_side=mask_side, **options)
