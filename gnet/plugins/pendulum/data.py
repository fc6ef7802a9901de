"""Paths of the pendulum, made on demand in seconds: the published law of starts, chunks and splits."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from gnet.errors import ConfigError
from gnet.plugins.pendulum.physics import SIZE, Pendulum
from gnet.plugins.pendulum.solvers import Method, integrate
from gnet.randomness import streams

CHECKSUM = "8562d762012793a01506d576976ffb07e044b7b0c88f5042d3cfc1c0ea050dfb"
"""Of ``pendulum_data()``: sha256 of all paths, rounded to a thousandth so that no last bit of a machine counts."""
CHECKSUM_OF_FEW = "bc6eb6a99ba48f0b21ca67897fb81ac8312e095a95609a93f259b9c0044bf32c"
"""Of ``pendulum_data(20, 10, 10, num_times=30)``, for a check in a second."""
STEP, NUM_TIMES, CHUNK = 0.2, 150, 5
NUM_PATHS = 5000


@dataclass(frozen=True)
class PendulumData:
    """Chunks of paths to train, validate and test on, and whole paths from the test states.

    Attributes:
        train, val, test: chunks of five states 0.2 apart, (num, 5, 12) float32.
        paths: true paths from the first state of each test chunk, at 150 times, (num, 150, 12) float64.
        chunk_times, times: (5,) and (150,) float64.
    """

    train: Tensor
    val: Tensor
    test: Tensor
    paths: Tensor
    chunk_times: Tensor
    times: Tensor

    def checksum(self) -> str:
        """sha256 of everything, rounded to a thousandth."""
        digest = hashlib.sha256()
        for part in (self.train, self.val, self.test, self.paths):
            digest.update((part.double() * 1000).round().to(torch.int32).numpy().tobytes())
        return digest.hexdigest()


def initial_states(num: int, generator: torch.Generator | None = None) -> Tensor:
    """Normal places about (0, 0, -1.5) and (0, 0, -3) with deviation 0.2, and momenta with deviation 0.4, (num, 12) float64.

    Example:
        >>> initial_states(5).shape
        torch.Size([5, 12])
    """
    z = torch.randn(num, SIZE, dtype=torch.float64, generator=generator)
    z = z * torch.tensor([0.2] * 6 + [0.4] * 6, dtype=torch.float64)
    z[:, 2] -= 1.5
    z[:, 5] -= 3.0
    return z


def pendulum_data(
    num_train: int = 500,
    num_val: int = 500,
    num_test: int = 500,
    *,
    pendulum: Pendulum | None = None,
    seed: int = 0,
    method: Method = "rk4",
    substeps: int = 10,
    num_times: int = NUM_TIMES,
) -> PendulumData:
    """5000 starts, of which a fixed split takes some; of each path one of the 30 chunks of five states, at random.

    Only paths that are used are computed. The published data came from an adaptive solver at relative tolerance 1e-4 in float32
    (``method="dopri5"``); the default, RK4 with steps of 0.02 in float64, is closer to the truth.

    Args:
        pendulum: kappa = 1 by default, as in the published code.
        method, substeps: of ``integrate``.
        num_times: of a path; fewer for a quick look.

    Raises:
        ConfigError: more than 5000 paths, none, or too few times for a chunk.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 7.2, and the published code.

    Example:
        >>> data = pendulum_data(4, 2, 3, num_times=10)
        >>> data.train.shape, data.paths.shape
        (torch.Size([4, 5, 12]), torch.Size([3, 10, 12]))
    """
    num = num_train + num_val + num_test
    if min(num_train, num_val, num_test) < 1 or num > NUM_PATHS:
        got = f"{num_train}, {num_val} and {num_test}"
        raise ConfigError(f"expected up to {NUM_PATHS} paths in all, and some for each part, got {got}")
    if num_times < CHUNK:
        raise ConfigError(f"expected at least {CHUNK} times, got {num_times}")
    field, random = pendulum or Pendulum(), streams(seed)
    starts = initial_states(NUM_PATHS, random["draw"])[torch.randperm(NUM_PATHS, generator=random["split"])[:num]]
    times = STEP * torch.arange(num_times, dtype=torch.float64)
    with torch.no_grad():
        whole = integrate(field, starts, times, method, substeps=substeps)
        first = CHUNK * torch.randint(num_times // CHUNK, (num,), generator=random["batches"])
        chunks = whole[torch.arange(num)[:, None], first[:, None] + torch.arange(CHUNK)]  # (num, 5, 12)
        train, val, test = chunks.float().split([num_train, num_val, num_test])
        paths = integrate(field, test[:, 0].double(), times, method, substeps=substeps)
    return PendulumData(train, val, test, paths, times[:CHUNK], times)
