"""Losses of contrastive learning on a sphere: InfoNCE, its two parts, and the one that asks for a rotation per augmentation.

Embeddings are rows, (..., n, D); row i of both views belongs to sample i. Half precision is computed in float32, also
under autocast: products of unit rows that are nearly the same would be rounding else.
"""

import functools
import math
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, DegenerateInputError, ShapeError

TOLERANCE = 1e-4
"""How far the norm of an embedding may be from one, or ``ROUNDINGS`` of its dtype, if they are more."""
ROUNDINGS = 4.0
HALF = (torch.bfloat16, torch.float16)


P = ParamSpec("P")
R = TypeVar("R")


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """A function of embeddings, its first argument, whose products autocast does not round.

    Example:
        >>> product = without_autocast(lambda z: (z @ z.mT).dtype)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     product(torch.eye(2))
        torch.float32
    """

    @functools.wraps(function)
    def exact(*args: P.args, **options: P.kwargs) -> R:
        first = next(each for each in (*args, *options.values()) if isinstance(each, Tensor))
        with torch.autocast(first.device.type, enabled=False):
            return function(*args, **options)

    return exact


def wide(z: Tensor) -> Tensor:
    """Half precision as float32; anything else as it is.

    Example:
        >>> wide(torch.zeros(2, dtype=torch.float16)).dtype
        torch.float32
    """
    return z.float() if z.dtype in HALF else z


def info_nce(z1: Tensor, z2: Tensor, tau: float) -> Tensor:
    """Mean over 2 n anchors of -log of the positive's share among it and 2 n - 2 negatives, in exponentials of products / tau.

    It is ``info_nce_parts`` together: what views of one sample have in common, and how far all are spread.

    Shapes:
        z1, z2: (n, D), unit rows, n >= 2    returns: ()

    Raises:
        ShapeError: other shapes, or a single sample.
        DegenerateInputError: rows that are not of norm 1.
        ConfigError: tau <= 0.

    References:
        Gupta et al. (2024), arXiv:2306.13924, section 3; van den Oord et al. (2018), arXiv:1807.03748.

    Example:
        >>> z = torch.eye(3)
        >>> info_nce(z, z, 0.5)  # -2 + log(e^2 + 4)
        tensor(0.4327)
    """
    pull, push = info_nce_parts(z1, z2, tau)
    return pull + push


@without_autocast
def info_nce_parts(z1: Tensor, z2: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """The two parts of InfoNCE: the mean of -<z_i, z_i^+> / tau, and the mean log of the denominator.

    Example:
        >>> info_nce_parts(torch.eye(3), torch.eye(3), 0.5)
        (tensor(-2.), tensor(2.4327))
    """
    check_views(z1, z2)
    if not tau > 0:
        raise ConfigError(f"expected tau > 0, got {tau}")
    both = wide(torch.cat([z1, z2]))
    z1, z2 = both.chunk(2)
    logits = (both @ both.mT / tau).masked_fill(torch.eye(len(both), dtype=torch.bool, device=both.device), -math.inf)
    return -(z1 * z2).sum(-1).mean() / tau, logits.logsumexp(-1).mean()


@without_autocast
def alignment(z1: Tensor, z2: Tensor) -> Tensor:
    """L_inv, the mean distance of two views of a sample: 0 where augmentations change nothing.

    Shapes:
        z1, z2: (n, D)    returns: ()

    Raises:
        ShapeError, DegenerateInputError: as ``info_nce``.

    References:
        Gupta et al. (2024), arXiv:2306.13924, section 3.

    Example:
        >>> alignment(torch.eye(2), -torch.eye(2))
        tensor(2.)
    """
    check_views(z1, z2)
    return (wide(z1) - wide(z2)).norm(dim=-1).mean()


@without_autocast
def uniformity(z: Tensor) -> Tensor:
    """L_unif, the log of the mean of e^<z_i, z_j> over all pairs, i = j among them: least where rows are spread evenly.

    Shapes:
        z: (n, D), unit rows    returns: ()

    Raises:
        ShapeError: no matrix, or no row.
        DegenerateInputError: rows that are not of norm 1.

    References:
        Gupta et al. (2024), arXiv:2306.13924, section 3.

    Example:
        >>> uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))  # log cosh 1
        tensor(0.4338)
    """
    check_unit(z)
    z = wide(z)
    return (z @ z.mT).flatten().logsumexp(0) - 2 * math.log(len(z))


@without_autocast
def care_equivariance(z1: Tensor, z2: Tensor, chunks: int = 1, form: Tensor | None = None) -> Tensor:
    """L_equi: the mean square of <z1_i, z1_j> - <z2_i, z2_j> over pairs i != j of a chunk, averaged over chunks.

    All samples of a chunk share one pair of augmentations, so both views have the same products if and only if one orthogonal
    map of embeddings takes the first to the second: 0 says that f(a x) = R_a f(x). Chunks are rows in order, n / chunks each.
    The published code has 2 (m - 1) times this mean for chunks of m samples.

    Args:
        form: (D, D), another product <u, v> = u^T J v: of embeddings that need not be of norm 1, on which its isometries act
            (Lorentz: diag(1, -1, ..), symplectic: J).

    Shapes:
        z1, z2: (n, D)    returns: ()

    Raises:
        ShapeError: chunks that do not divide n, or of one sample, or a form of another size.
        DegenerateInputError: rows that are not of norm 1, without ``form``.

    References:
        Gupta et al. (2024), arXiv:2306.13924, section 3.1, and section 3.3 for other forms.

    Example:
        >>> z = torch.nn.functional.normalize(torch.randn(6, 3, dtype=torch.float64), dim=-1)
        >>> turned = z @ torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q.mT
        >>> bool(care_equivariance(z, turned, chunks=2) < 1e-20), bool(care_equivariance(z, z.flip(0), chunks=2) > 1e-3)
        (True, True)
    """
    check_views(z1, z2, unit=form is None)
    size = chunk_size(len(z1), chunks)
    first, second = (_products(wide(z).unflatten(0, (chunks, size)), form) for z in (z1, z2))
    gaps = first - second
    off = ~torch.eye(size, dtype=torch.bool, device=gaps.device)
    return gaps[:, off].square().mean()


class CARELoss(nn.Module):
    """w_inv L_inv + w_unif L_unif + lam L_equi.

    With ``tau`` the first two are the parts of InfoNCE, which both weights at one make up; with ``tau=None`` they are
    ``alignment`` and ``uniformity`` of both views together. Under augmentations by a whole group of rotations a weight of one of
    the first lets invariance win for any moderate ``lam``: take ``w_inv=0`` there.

    Args:
        lam: weight of L_equi in its mean form. The published weights belong to the sum of the code: times 2 (m - 1) they are
            those of the mean, m samples per chunk.
        tau: temperature, or None.
        chunks: groups of samples with one pair of augmentations each.
        w_inv, w_unif: weights.
        form: of ``care_equivariance``, (D, D). Rows may then have any norm: L_equi sees them as they are, the others their
            directions alone.

    Shapes:
        z1, z2: (n, D), unit rows without ``form``    returns: ()

    Raises:
        ConfigError: negative weights, none above zero, tau <= 0, or no chunk.
        ShapeError: a form that is no square matrix; (in a call) of another size than the rows.

    References:
        Gupta et al. (2024), arXiv:2306.13924, section 3.

    Example:
        >>> z = torch.nn.functional.normalize(torch.randn(8, 3), dim=-1)
        >>> loss = CARELoss(lam=1.0, tau=0.5, chunks=2)
        >>> bool(loss(z, z) == info_nce(z, z, 0.5)), list(loss.terms(z, z))
        (True, ['inv', 'unif', 'equi'])
    """

    def __init__(
        self,
        lam: float = 1.0,
        tau: float | None = 0.5,
        chunks: int = 1,
        w_inv: float = 1.0,
        w_unif: float = 1.0,
        form: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not all(each >= 0 for each in (lam, w_inv, w_unif)) or not lam + w_inv + w_unif:
            raise ConfigError(f"expected lam, w_inv and w_unif >= 0, one of them > 0, got {lam}, {w_inv} and {w_unif}")
        if form is not None and (form.ndim != 2 or form.shape[0] != form.shape[1]):
            raise ShapeError(f"expected form of shape (D, D), got {tuple(form.shape)}")
        if tau is not None and not tau > 0:
            raise ConfigError(f"expected tau > 0 or None, got {tau}")
        if chunks < 1:
            raise ConfigError(f"expected chunks >= 1, got {chunks}")
        self.lam, self.tau, self.chunks, self.w_inv, self.w_unif = lam, tau, chunks, w_inv, w_unif
        self.register_buffer("form", form)

    form: Tensor | None

    def terms(self, z1: Tensor, z2: Tensor) -> dict[str, Tensor]:
        """The terms that have a weight, without it."""
        found, rows = {}, (z1, z2) if self.form is None else (_directions(z1), _directions(z2))
        if self.tau is not None and (self.w_inv or self.w_unif):
            found = dict(zip(("inv", "unif"), info_nce_parts(*rows, self.tau), strict=True))
        elif self.tau is None:
            found = {"inv": alignment(*rows)} if self.w_inv else {}
            found |= {"unif": uniformity(torch.cat(rows))} if self.w_unif else {}
        if self.lam:
            found["equi"] = care_equivariance(z1, z2, self.chunks, self.form)
        return {name: value for name, value in found.items() if self.weights[name]}

    @property
    def weights(self) -> dict[str, float]:
        """Of each term."""
        return {"inv": self.w_inv, "unif": self.w_unif, "equi": self.lam}

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of what ``terms`` gave."""
        return torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """The loss."""
        return self.total(self.terms(z1, z2))

    def extra_repr(self) -> str:
        """Weights, temperature and chunks."""
        return f"lam={self.lam}, tau={self.tau}, chunks={self.chunks}, w_inv={self.w_inv}, w_unif={self.w_unif}"


def check_unit(z: Tensor) -> None:
    """Refuse what are no unit rows.

    Raises:
        ShapeError: not (n, D), or no row.
        DegenerateInputError: a row whose norm is not 1.

    Example:
        >>> check_unit(torch.eye(3))
    """
    if z.ndim != 2 or not len(z):
        raise ShapeError(f"expected embeddings of shape (n, D) with n >= 1, got {tuple(z.shape)}")
    off = float((wide(z.detach()).norm(dim=-1) - 1).abs().max())
    if not off <= (max(TOLERANCE, ROUNDINGS * torch.finfo(z.dtype).eps) if z.is_floating_point() else TOLERANCE):
        raise DegenerateInputError(f"expected embeddings of norm 1, got one off by {off:.3g}; normalise: F.normalize(z, dim=-1)")


def check_views(z1: Tensor, z2: Tensor, unit: bool = True) -> None:
    """Refuse what are no two views of two samples or more.

    Raises:
        ShapeError: shapes that are not (n, D) and the same, or a single sample.
        DegenerateInputError: rows that are not of norm 1, if ``unit``.

    Example:
        >>> check_views(torch.eye(3), torch.eye(3))
    """
    if z1.shape != z2.shape or z1.ndim != 2 or len(z1) < 2:
        raise ShapeError(f"expected two views (n, D) of n >= 2 samples, got {tuple(z1.shape)} and {tuple(z2.shape)}")
    if unit:
        check_unit(z1)
        check_unit(z2)


def chunk_size(num_samples: int, chunks: int) -> int:
    """Samples of a chunk.

    Raises:
        ShapeError: chunks that do not divide the batch, or of a single sample, which has no pair.

    Example:
        >>> chunk_size(256, 16)
        16
    """
    if chunks < 1 or num_samples % chunks or num_samples // chunks < 2:
        raise ShapeError(
            f"expected chunks of the same size, two samples or more, got {num_samples} samples in {chunks} chunks; "
            "take a batch size that chunks divide (drop_last=True), or fewer chunks"
        )
    return num_samples // chunks


def _directions(z: Tensor) -> Tensor:
    return nn.functional.normalize(wide(z), dim=-1)


def _products(z: Tensor, form: Tensor | None) -> Tensor:
    if form is not None and form.shape != (z.shape[-1], z.shape[-1]):
        raise ShapeError(f"expected form of shape ({z.shape[-1]}, {z.shape[-1]}) for these rows, got {tuple(form.shape)}")
    return (z if form is None else z @ form.to(z)) @ z.mT
