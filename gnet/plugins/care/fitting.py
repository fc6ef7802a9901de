"""A fit of the contrastive module, shared by the experiments."""

from torch import Tensor

from gnet.plugins.care.module import CAREModule, Samples
from gnet.study.fitting import fit


def train(module: CAREModule, x: Tensor, epochs: int, batch_size: int, seed: int) -> CAREModule:
    """The module after some epochs on samples (num, ...), on the CPU, in evaluation mode.

    Example:
        >>> from gnet.plugins.care import CARELoss, CloudEncoder, GroupAugmentation, chains
        >>> from gnet.plugins.tensors import SO
        >>> module = CAREModule(CloudEncoder(3, 4, (8,), (8,)), GroupAugmentation(SO(3)), CARELoss(chunks=2))
        >>> train(module, chains(16, 8), epochs=1, batch_size=8, seed=0).global_step
        2
    """
    samples = Samples(x, batch_size=batch_size, chunks=module.loss.chunks, seed=seed)
    fit(module, datamodule=samples, max_epochs=epochs, limit_val_batches=0)
    return module.eval()
