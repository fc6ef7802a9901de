"""Filters that no signed permutation changes: how many there are (Burnside), and a basis of them by orbits, kept on disk."""

import functools
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gnet.counts import is_count
from gnet.errors import RepresentationError, ShapeError
from gnet.plugins.geometric_images.images import GeometricImage
from gnet.plugins.geometric_images.moves import moved_tensors
from gnet.plugins.tensors import B
from gnet.plugins.tensors.solvers import moved_tuples, signed_components

CAP = 50_000_000
"""Most numbers in a basis of filters."""
KEPT = 1_000
"""Entries of a filter from which on its orbits are kept on disk."""
VERSION = 1
"""Of the files; a change of the order of filters raises it."""


def count_filters(d: int, M: int, k: int, parity: int = 1) -> int:
    """How many independent invariant filters there are, by Burnside's count; no filter is made.

        1/|B_d| sum over g of det(g)^((1 - p) / 2) tr(g)^k fix_M(g)

    With k = k' + k'' and p = p' p'' it is the number of equivariant linear maps from k'(p')- to k''(p'')-tensor images that reach
    M pixels far.

    Raises:
        ShapeError: an even M, or d < 2 or k < 0.

    References:
        Gregory et al. (2023), arXiv:2305.12585, section 4.

    Example:
        >>> [count_filters(2, 3, k) for k in range(5)], count_filters(3, 5, 3, -1)
        ([3, 2, 5, 8, 20], 66)
    """
    _check(d, M, k, parity)
    return _burnside(d, M, k, parity, None)


def count_torus_filters(d: int, N: int, k: int, parity: int = 1) -> int:
    """The same for filters as large as the torus (Z/N)^d, of any N: all equivariant linear maps there are.

    Raises:
        ShapeError: N < 1, or d < 2 or k < 0.

    Example:
        >>> [count_torus_filters(2, N, 0) for N in (3, 4, 5, 7, 16)], count_torus_filters(2, 16, 2)
        ([3, 6, 6, 10, 45], 130)
    """
    _check(d, N, k, parity, torus=True)
    return _burnside(d, N, k, parity, N)


def invariant_filters(d: int, M: int, k: int, parity: int = 1) -> GeometricImage:
    """A basis of the filters C with g . C(g^-1 a) = C(a) for every signed permutation g; a batch of images of M^d pixels.

    Signed permutations send each entry of a filter to another, or to its negative: every orbit of entries that does not meet its
    own negative is one filter. Filters do not overlap, their entries are 0 or plus or minus one number, the largest pixel has
    norm 1. They are sorted by radius; vectors point outwards, pseudovectors in d = 2 counter-clockwise. O(M^d d^k |generators|).

    Orbits of large filters are kept in the folder ``GNET_CACHE``, or else in the user's cache.

    Shapes:
        returns: data (count, M, ..., M, d, ..., d) float64

    Raises:
        ShapeError: an even M, or d < 2 or k < 0.
        RepresentationError: a parity that is neither 1 nor -1, or more than ``CAP`` numbers.

    References:
        Gregory et al. (2023), arXiv:2305.12585, section 4, who average each unit filter over the group.

    Example:
        >>> filters = invariant_filters(2, 3, 1)
        >>> filters
        GeometricImage(2 x 3x3 pixels, 1(+)-tensors in d = 2, zero outside)
        >>> filters.data[0, 2, 1]
        tensor([1., 0.], dtype=torch.float64)
    """
    _check(d, M, k, parity)
    return GeometricImage(_basis(d, M, k, parity, None).clone(), d, k, parity, torus=False)


def torus_filters(d: int, N: int, k: int, parity: int = 1) -> GeometricImage:
    """The same on the whole torus (Z/N)^d for any N, also an even one; pixel 0 is the offset 0.

    ``image.conv(filters, origin="pixel")`` takes them; by the usual origin in the centre they are no invariant filters.

    Shapes:
        returns: data (count, N, ..., N, d, ..., d) float64

    Raises:
        ShapeError: N < 1, or d < 2 or k < 0.

    Example:
        >>> filters = torus_filters(2, 4, 2)
        >>> GeometricImage(torch.randn(4, 4), 2).conv(filters, origin="pixel")
        GeometricImage(10 x 4x4 pixels, 2(+)-tensors in d = 2, torus)
    """
    _check(d, N, k, parity, torus=True)
    return GeometricImage(_basis(d, N, k, parity, N).clone(), d, k, parity, torus=True)


def _check(d: int, M: int, k: int, parity: int, torus: bool = False) -> None:
    if not is_count(d, 2) or not is_count(k, 0):
        raise ShapeError(f"expected d >= 2 and k >= 0, whole numbers, got d = {d} and k = {k}")
    if torus and not is_count(M, 1):
        raise ShapeError(f"expected a torus with a whole number N >= 1 of pixels on each side, got {M}")
    if not torus and (not is_count(M, 1) or M % 2 == 0):
        raise ShapeError(f"expected an odd side M = 2 m + 1 of filters, got {M}")
    if parity not in (1, -1):
        raise RepresentationError(f"expected parity 1 or -1, got {parity!r}")


def _window(d: int, M: int) -> Tensor:
    """Offsets in [-m, m]^d, row-major, (M^d, d)."""
    return torch.cartesian_prod(*[torch.arange(M) - M // 2] * d)


def _burnside(d: int, M: int, k: int, parity: int, N: int | None) -> int:
    offsets = torch.cartesian_prod(*[torch.arange(N)] * d) if N else _window(d, M)
    elements = B(d).elements().long()
    total = 0
    for g in elements:
        moved = offsets @ g.mT - offsets
        fixed = int(((moved % N if N else moved) == 0).all(1).sum())
        sign = round(float(torch.linalg.det(g.double()))) if parity < 0 else 1
        total += sign * int(g.trace()) ** k * fixed
    return total // len(elements)


@functools.lru_cache(maxsize=64)
def _basis(d: int, M: int, k: int, parity: int, N: int | None) -> Tensor:
    """Filters in float64, (count, M, ..., M, d, ..., d); M = N with the offsets of a torus. One for all callers: clone it."""
    labels, signs = filter_orbits(d, M, k, parity, N)
    count = int(labels.max()) + 1 if len(labels) else 0
    if count * len(labels) > CAP:
        raise RepresentationError(
            f"{count} filters of {len(labels)} entries are more than {CAP} numbers; take a smaller M or order"
        )
    flat = torch.zeros(max(count, 0), len(labels), dtype=torch.float64)
    rows = (labels >= 0).nonzero().flatten()
    flat[labels[rows], rows] = signs[rows]
    pixels = flat.reshape(count, M**d, d**k)
    flat = flat / pixels.norm(dim=2).amax(1)[:, None] if count else flat
    offsets = torch.cartesian_prod(*[(torch.arange(M) + N // 2) % N - N // 2] * d) if N else _window(d, M)
    weight = flat.reshape(count, M**d, d**k).square().sum(2)
    radius = (weight @ offsets.double().norm(dim=1)) / weight.sum(1)
    order = torch.argsort((radius * 1e6).round(), stable=True)
    basis = flat[order].reshape(count, *[M] * d, *[d] * k)
    return basis * _orientation(basis, offsets, d, k, parity).reshape(-1, *[1] * (d + k)) + 0.0  # no -0


def _orientation(basis: Tensor, offsets: Tensor, d: int, k: int, parity: int) -> Tensor:
    """1 or -1 for each filter: outwards, counter-clockwise, or so that the first entry is positive."""
    flat = basis.reshape(len(basis), len(offsets) * d**k)
    first = flat.gather(1, (flat != 0).long().argmax(1, keepdim=True)).flatten().sign()
    along = None
    if k == 1 and parity > 0:
        along = offsets.double()
    elif k == 1 and d == 2:
        along = offsets.double() @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)  # (-y, x)
    if along is None or not len(basis):
        return first
    turned = (basis.reshape(len(basis), len(offsets), d) * along).sum((1, 2)).sign()
    return torch.where(turned == 0, first, turned)


def filter_orbits(d: int, M: int, k: int, parity: int = 1, N: int | None = None) -> tuple[Tensor, Tensor]:
    """Label and sign of each entry of a filter, from disk where they are kept; -1 for entries that are 0 in every filter.

    Args:
        N: of a torus, with M = N; None for a window.

    Shapes:
        returns: (M^d d^k,) int64 and float64

    Raises:
        RepresentationError: more than ``CAP`` entries.

    Example:
        >>> labels, signs = filter_orbits(2, 3, 1)
        >>> int(labels.max()) + 1 == count_filters(2, 3, 1)
        True
    """
    size = M**d * d**k
    if size > CAP:
        raise RepresentationError(f"a filter with {size} entries is larger than {CAP}; take a smaller M or order")
    moves = _moves(d, M, k, parity, N)
    if size < KEPT:
        return signed_components(moves, size)
    name = f"filters_{'torus' if N else 'window'}_d{d}_M{M}_k{k}_{'plus' if parity > 0 else 'minus'}_v{VERSION}.npz"
    kept = _read(cache_folder() / name)
    if kept is not None and _are_orbits(*kept, moves, _burnside(d, M, k, parity, N)):
        return kept
    labels, signs = signed_components(moves, size)
    _write(cache_folder() / name, labels, signs)
    return labels, signs


def _moves(d: int, M: int, k: int, parity: int, N: int | None) -> list[tuple[Tensor, Tensor]]:
    """Where each generator of B_d sends each entry of a filter, and whether with the other sign."""
    offsets = torch.cartesian_prod(*[torch.arange(M)] * d) if N else _window(d, M)
    strides = torch.tensor([M**axis for axis in reversed(range(d))])
    moves = []
    for g in B(d).generators:
        moved = offsets @ g.long().mT
        pixels = ((moved % N) if N else (moved + M // 2)) @ strides
        tuples, signs = moved_tuples(g, k)
        signs = moved_tensors(signs, g, 0, parity)
        moves.append(((pixels[:, None] * d**k + tuples).flatten(), signs.expand(len(pixels), -1).flatten()))
    return moves


def _are_orbits(labels: Tensor, signs: Tensor, moves: list[tuple[Tensor, Tensor]], count: int) -> bool:
    """Whether these are the orbits: as many as Burnside counts, and each kept by every generator with its signs.

    A label that all generators keep is a union of orbits, so that as many labels as orbits are the orbits themselves.
    """
    size = len(moves[0][0])
    if labels.shape != (size,) or signs.shape != (size,) or not bool((signs.abs() == 1).all()):
        return False
    if labels[labels >= 0].unique().tolist() != list(range(count)) or int(labels.min()) < -1:
        return False
    alike = (bool((labels[to] == labels).all()) for to, _ in moves)
    return all(alike) and all(bool(((signs[to] * sign == signs) | (labels < 0)).all()) for to, sign in moves)


def cache_folder() -> Path:
    """Where orbits are kept: ``GNET_CACHE``, or else the user's cache.

    Example:
        >>> cache_folder().name != ""
        True
    """
    if given := os.environ.get("GNET_CACHE"):
        return Path(given).expanduser()
    import pooch  # here, since it is needed for large filters only

    return Path(pooch.os_cache("gnet"))


def _read(path: Path) -> tuple[Tensor, Tensor] | None:
    """What was kept; None where nothing is, or something that is no such file."""
    try:
        with np.load(path) as file:
            return torch.from_numpy(file["labels"]).long(), torch.from_numpy(file["signs"]).double()
    except Exception:  # those of damaged bytes (of zlib, zipfile, numpy's parser) have no common base
        return None


def _write(path: Path, labels: Tensor, signs: Tensor) -> None:
    """Keep it, as a whole or not at all; a folder that cannot be written costs the next process the same time again."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            np.savez_compressed(file, labels=labels.int().numpy(), signs=signs.to(torch.int8).numpy())
        os.replace(temporary, path)
    except OSError:
        return
