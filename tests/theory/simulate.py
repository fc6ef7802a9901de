"""Regressions drawn and solved by NumPy alone, averaged over listed group elements: what the closed forms are held to."""

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cluster_elements(*sizes: int) -> list[list[int]]:
    """All permutations within consecutive clusters."""
    starts = np.cumsum([0, *sizes])
    blocks = [range(a, b) for a, b in itertools.pairwise(starts)]
    return [[int(i) for part in each for i in part] for each in itertools.product(*(itertools.permutations(b) for b in blocks))]


def matrices(elements: list[list[int]], channels: int = 1) -> Array:
    """(|G|, N C, N C): g e_i = e_perm[i], channels fast."""
    size = len(elements[0])
    found = np.zeros((len(elements), size, size))
    for number, perm in enumerate(elements):
        found[number, perm, np.arange(size)] = 1
    return np.stack([np.kron(each, np.eye(channels)) for each in found])


def reynolds(theta: Array, outer: Array, inner: Array) -> Array:
    """Mean of g^-1 Theta g over the elements; theta (..., rows, columns)."""
    return np.mean([g.T @ theta @ h for g, h in zip(outer, inner, strict=True)], axis=0)


def projector(outer: Array, inner: Array) -> Array:
    """The same as a matrix on flattened maps, (rows * columns, rows * columns)."""
    return np.mean([np.kron(g.T, h.T) for g, h in zip(outer, inner, strict=True)], axis=0)


def constrained_basis(outer: Array, inner: Array) -> Array:
    """An orthonormal basis of the equivariant maps, (dim, rows, columns)."""
    values, vectors = np.linalg.eigh(projector(outer, inner))
    return vectors[:, values > 0.5].T.reshape(-1, outer.shape[1], inner.shape[1])


def simulate(
    theta: Array,
    outer: Array,
    inner: Array,
    n: int,
    trials: int,
    rng: np.random.Generator,
    *,
    sigma_xi: float,
    sigma_x: float = 1.0,
    covariance: Array | None = None,
    constrained: bool = False,
) -> dict[str, tuple[float, float]]:
    """Mean and standard error of excess risks and of the gap; theta (q, p).

    "projected less ols" and "constrained less ols" are the differences on the same samples, which vary less.
    """
    q, p = theta.shape
    root = sigma_x * np.eye(p) if covariance is None else np.linalg.cholesky(covariance)
    project = projector(outer, inner)
    basis = constrained_basis(outer, inner) if constrained else None
    pieces: list[dict[str, Array]] = []
    for start in range(0, trials, 500):
        count = min(500, trials - start)
        x = rng.standard_normal((count, n, p)) @ root.T
        y = x @ theta.T + sigma_xi * rng.standard_normal((count, n, q))
        estimates = {"ols": (np.linalg.pinv(x) @ y).transpose(0, 2, 1)}
        estimates["projected"] = (estimates["ols"].reshape(count, -1) @ project.T).reshape(count, q, p)
        if basis is not None:
            design = np.einsum("dqp,tnp->tnqd", basis, x).reshape(count, n * q, -1)
            weights = np.linalg.pinv(design) @ y.reshape(count, n * q, 1)
            estimates["constrained"] = np.einsum("td,dqp->tqp", weights[..., 0], basis)
        pieces.append({name: np.sum(((each - theta) @ root) ** 2, axis=(1, 2)) for name, each in estimates.items()})
    risks = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    risks |= {f"{name} less ols": risks[name] - risks["ols"] for name in risks if name != "ols"}
    risks["gap"] = -risks["projected less ols"]
    return {name: (float(np.mean(v)), float(np.std(v, ddof=1) / np.sqrt(trials))) for name, v in risks.items()}


def agrees(value: float, measured: tuple[float, float], errors: float = 5.0) -> bool:
    """Within so many standard errors."""
    return abs(value - measured[0]) <= errors * measured[1]
