"""Proof that nothing large was made: the largest tensor of any operation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class LargestTensor(TorchDispatchMode):
    """Remembers the number of entries of the largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, tuple | list) else [result]:
            if isinstance(part, torch.Tensor):
                self.entries = max(self.entries, part.untyped_storage().nbytes() // part.element_size())
        return result


@contextmanager
def no_tensor_over(entries: int) -> Iterator[None]:
    with LargestTensor() as seen:
        yield
    assert seen.entries <= entries, f"a tensor of {seen.entries} entries was made"
