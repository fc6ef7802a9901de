"""Contrastive training with Lightning: any encoder, any augmentation."""

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gnet.errors import ConfigError
from gnet.plugins.care.losses import CARELoss, chunk_size, wide
from gnet.plugins.care.measures import GammaMetric, WahbaMetric
from gnet.plugins.care.views import Augmentation, Views
from gnet.randomness import derive_seed


class CAREModule(pl.LightningModule):
    """Trains an encoder so that two views of samples are near each other, far from others, and turned by one rotation per chunk.

    Logged: ``train_loss`` and each term of the loss; in validation ``val_loss``, ``val_gamma`` and ``val_wahba``, which compare
    the embeddings of a batch with those of the batch moved by one augmentation, ``num_elements`` times; not with a ``form``, as
    both ask for orthogonal maps. Embeddings, losses and measures are of float32 or float64 at any precision of the trainer.

    A checkpoint has the weights alone: ``CAREModule.load_from_checkpoint(path, encoder=..., augmentation=..., loss=...)``.

    Args:
        encoder: from samples to (B, D'); what a probe reads.
        augmentation: what draws and applies augmentations.
        loss: with its number of chunks.
        head: from (B, D') to (B, D), on whose unit vectors the loss is, with a ``form`` on themselves; None leaves it out.
        same_for_chunk: as in ``Views``.
        lr, weight_decay: of Adam; a weight decay is AdamW's.
        seed: of the augmentations; every step draws its own, whatever was drawn before.
        num_elements: augmentations of a batch of validation.

    Shapes:
        batch: (x, ...), of which x alone is read

    Raises:
        ConfigError: ``loss`` has L_equi, and augmentations are not the same for a chunk.
        ShapeError: (in training) a batch that chunks do not divide.

    References:
        Gupta et al. (2024), arXiv:2306.13924, section 3.2.

    Example:
        >>> from gnet.plugins.care import CARELoss, CloudEncoder, GroupAugmentation
        >>> from gnet.plugins.tensors import SO
        >>> module = CAREModule(CloudEncoder(3, 16), GroupAugmentation(SO(3)), CARELoss(lam=10.0, tau=None, chunks=4, w_inv=0.0))
        >>> module(torch.randn(8, 64, 3)).norm(dim=-1).allclose(torch.ones(8))
        True
    """

    def __init__(
        self,
        encoder: nn.Module,
        augmentation: Augmentation,
        loss: CARELoss,
        head: nn.Module | None = None,
        same_for_chunk: bool = True,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        seed: int = 0,
        num_elements: int = 4,
    ) -> None:
        super().__init__()
        if loss.lam and not same_for_chunk:
            raise ConfigError("lam > 0 compares products under one augmentation: take same_for_chunk=True, or lam=0")
        self.encoder, self.head, self.loss = encoder, head or nn.Identity(), loss
        self.views = Views(augmentation, loss.chunks, same_for_chunk)
        self.lr, self.weight_decay, self.seed, self.num_elements = lr, weight_decay, seed, num_elements
        self.val_gamma, self.val_wahba = GammaMetric(), WahbaMetric(special=False)

    def forward(self, x: Tensor) -> Tensor:
        """Unit embeddings, (B, ...) -> (B, D); not normalised where the loss has a form, as its isometries change norms."""
        found = wide(self.head(self.encoder(x)))
        return found if self.loss.form is not None else nn.functional.normalize(found, dim=-1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch, under augmentations of this step and process."""
        # Batches whose gradients are added up share a step: their own numbers tell them apart.
        is_shared = self._trainer is not None and self.trainer.accumulate_grad_batches > 1
        own = (self.current_epoch, batch_idx) if is_shared else ()
        first, second = self.views(batch[0], self._generator("train", self.global_step, *own))
        terms = self.loss.terms(self(first), self(second))
        total = self.loss.total(terms)
        named = {"train_loss": total, **{f"train_{name}": value for name, value in terms.items()}}
        self.log_dict({name: value.detach() for name, value in named.items()}, on_epoch=True, on_step=False)
        return total

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Logs the loss, gamma and Wahba's error."""
        x, generator = batch[0], self._generator("val", batch_idx)
        # The last batch need not be one that chunks divide: its rest is left out of the loss.
        whole = len(x) - len(x) % self.loss.chunks
        if whole >= 2 * self.loss.chunks:
            first, second = self.views(x[:whole], generator)
            self.log("val_loss", self.loss(self(first), self(second)), batch_size=whole)
        if len(x) < 2 or self.loss.form is not None:
            return
        still = self(x)
        for drawn in self.views.augmentation.sample(self.num_elements, generator):
            moved = self(self.views.augmentation.apply(drawn[None], x[None])[0])
            self.val_gamma.update(still, moved)
            self.val_wahba.update(still, moved)
        self.log_dict({"val_gamma": self.val_gamma, "val_wahba": self.val_wahba}, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam; AdamW where weights decay."""
        if self.weight_decay:
            return torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def _generator(self, stage: str, *place: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, stage, self.global_rank, *place))


class Samples(pl.LightningDataModule):
    """Tensors as batches; training leaves out the rest that makes no whole batch, so that chunks divide every batch.

    Args:
        train, val: (num, ...).
        batch_size: of both.
        chunks: of the loss; checked against ``batch_size``.
        seed: of the order of training batches.

    Raises:
        ShapeError: chunks that do not divide the batches.
        ConfigError: fewer training samples than one batch.

    Example:
        >>> next(iter(Samples(torch.zeros(10, 5, 3), batch_size=8, chunks=4).train_dataloader()))[0].shape
        torch.Size([8, 5, 3])
    """

    def __init__(self, train: Tensor, val: Tensor | None = None, batch_size: int = 256, chunks: int = 1, seed: int = 0) -> None:
        super().__init__()
        chunk_size(batch_size, chunks)
        if len(train) < batch_size:
            raise ConfigError(f"expected batch_size <= {len(train)} training samples, got {batch_size}")
        self.train, self.val, self.batch_size, self.seed = train, val, batch_size, seed

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """In random order."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "batches"))
        return DataLoader(TensorDataset(self.train), self.batch_size, shuffle=True, drop_last=True, generator=generator)

    def val_dataloader(self) -> list[DataLoader[tuple[Tensor, ...]]]:
        """In order; none without ``val``."""
        return [] if self.val is None else [DataLoader(TensorDataset(self.val), self.batch_size)]
