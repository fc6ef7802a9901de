"""The three synthetic regressions by perceptrons on scalars, with the training of their published code."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.plugins.scalars.models import PairMatrix, ScalarInvariant, perceptron
from gnet.plugins.tensors.experiment import PUBLISHED as PUBLISHED_TENSORS
from gnet.plugins.tensors.experiment import SyntheticRegressions
from gnet.plugins.tensors.tasks import task

MODELS = ("scalars", "emlp", "mlp", "mlp+aug")
PUBLISHED = {
    **PUBLISHED_TENSORS,
    ("o5", "scalars"): (0.11, 0.11, 0.019, 0.0085, 0.0085, 7e-4, 3.5e-4),
    ("inertia", "scalars"): (0.55, 0.055, 0.012, 0.0038, 0.0024, 0.0012, 7e-4),
    ("particle", "scalars"): (0.33, 0.14, 0.04, 0.010, 0.0022, 0.0011, 1.6e-4),
}
"""Test mean square errors by training samples, 30 to 30 000; those of scalars are read off curves (arXiv:2106.06610)."""


@dataclass(frozen=True)
class Training:
    """How a model of scalars is trained: Adam, the step times ``gamma`` at every milestone.

    Attributes:
        width, layers: of the perceptrons, ``layers`` hidden ones.
        lr, gamma, milestones: of Adam, in epochs.
        epochs, draws, batch: every epoch draws so many of the training samples, with replacement.
    """

    width: int
    layers: int
    lr: float
    gamma: float
    milestones: tuple[int, ...]
    epochs: int
    draws: int
    batch: int = 512

    def shortened(self, share: float) -> "Training":
        """The same with fewer epochs, and milestones at the same shares of them.

        Example:
            >>> TRAINING["o5"].shortened(0.1).milestones
            (12, 20, 40, 60, 80)
        """
        at = tuple(max(1, round(share * each)) for each in self.milestones)
        return Training(
            self.width, self.layers, self.lr, self.gamma, at, max(1, round(share * self.epochs)), self.draws, self.batch
        )


TRAINING = {
    "o5": Training(500, 6, 1e-3, 0.5, (120, 200, 400, 600, 800), 1000, 4096),
    "particle": Training(500, 6, 1e-3, 0.75, (30, 80, 140, 200, 300), 500, 4096),
    "inertia": Training(300, 3, 5e-3, 0.5, (50, 120, 200, 300, 400), 500, 16_384),
}
"""Settings of the published code; the number of epochs for inertia is that of the particles, since it is not stated."""


class ScalarRegressions(SyntheticRegressions):
    """Test error against the number of training samples, for perceptrons on scalars beside those of ``SyntheticRegressions``.

    O(5): an MLP on three products; particles: on ten Minkowski products; inertia: networks shared over pairs (``PairMatrix``).
    ReLU; the weights of the best validation error are kept; scalings and data are those of ``SyntheticRegressions``.

    Args:
        tasks, models, sizes, seeds, num_val, num_test: as there; models may be "scalars", too.
        share: of the published epochs of the models of scalars.
        max_epochs, ch, layers, lr: of the other models.

    Raises:
        ConfigError: a task or model that does not exist, no sizes, or a share outside (0, 1].

    References:
        Villar et al. (2021), arXiv:2106.06610, section 6, and its published code.
    """

    models_known = MODELS
    models_judged = ("scalars", "emlp")

    def __init__(
        self,
        tasks: list[str] | None = None,
        models: list[str] | None = None,
        sizes: list[int] | None = None,
        seeds: int = 3,
        share: float = 1.0,
        ch: int = 384,
        layers: int = 3,
        lr: float = 3e-3,
        max_epochs: int = 1000,
        num_val: int = 1000,
        num_test: int = 5000,
    ) -> None:
        if not 0.0 < share <= 1.0:
            raise ConfigError(f"expected a share in (0, 1], got {share}")
        super().__init__(tasks, models or ["scalars"], sizes, seeds, ch, layers, lr, max_epochs, num_val, num_test)
        self.share = share

    def published(self, name: str, model: str) -> Sequence[float]:
        """The published errors, by sizes."""
        return PUBLISHED[name, model]

    def error(self, name: str, model: str, n: int, seed: int) -> float:
        """The test error of one run."""
        if model != "scalars":
            return super().error(name, model, n, seed)
        data, deviation, generator = self.samples(task(name), n, seed)
        net = scalar_model(name, TRAINING[name], generator)
        fit(net, data[0], data[1], TRAINING[name].shortened(self.share), generator)
        with torch.no_grad():
            return float((net(data[2][0]) - data[2][1]).square().mean()) * deviation**2


def scalar_model(name: str, training: Training, generator: torch.Generator) -> nn.Module:
    """The network of a task: inputs and outputs flat, as the task has them.

    Shapes:
        x: (B, size in)    returns: (B, size out)

    Example:
        >>> scalar_model("particle", TRAINING["particle"], torch.Generator())(torch.randn(5, 16)).shape
        torch.Size([5, 1])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        hidden = [training.width] * training.layers
        if name == "inertia":
            return _Inertia(PairMatrix(perceptron([2, *hidden, 2], nn.ReLU), perceptron([5, *hidden, 2], nn.ReLU)))
        n, d, group, size = (2, 5, "O", 3) if name == "o5" else (4, 4, "Lorentz", 10)
        return nn.Sequential(
            nn.Unflatten(-1, (n, d)), ScalarInvariant(perceptron([size, *hidden, 1], nn.ReLU), group, norms=False)
        )


class _Inertia(nn.Module):
    """Five masses, then five positions, to a matrix."""

    def __init__(self, pairs: nn.Module) -> None:
        super().__init__()
        self.pairs = pairs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network."""
        return self.pairs(x[:, 5:].unflatten(-1, (5, 3)), x[:, :5, None]).flatten(1)


def fit(
    net: nn.Module, train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], training: Training, generator: torch.Generator
) -> None:
    """Train, and put the weights of the best validation error back.

    Shapes:
        train, val: inputs (B, size in) and targets (B, size out)
    """
    x, y = train
    optimizer = torch.optim.Adam(net.parameters(), lr=training.lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(training.milestones), training.gamma)
    best, kept = math.inf, copy.deepcopy(net.state_dict())
    for _ in range(training.epochs):
        for rows in torch.randint(len(x), (training.draws,), generator=generator).split(training.batch):
            optimizer.zero_grad()
            (net(x[rows]) - y[rows]).square().mean().backward()
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            error = float((net(val[0]) - val[1]).square().mean())
        if error < best:
            best, kept = error, copy.deepcopy(net.state_dict())
    net.load_state_dict(kept)
