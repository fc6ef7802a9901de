"""Callbacks around nets on vectors: penalties, augmentation and logged errors for a group of matrices."""

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gnet.errors import NotCompactError
from gnet.groups import GeneratedGroup
from gnet.training.log_equivariance import LogEquivariance
from gnet.training.relaxation import EquivariancePenalty, GroupAugmentation
from tests.training.small import quiet_trainer

TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
TURNS = GeneratedGroup("SO(2)", lie_algebra=[TURN])
BOOSTS = GeneratedGroup("SO+(1,1)", lie_algebra=[torch.tensor([[0.0, 1.0], [1.0, 0.0]])])


class Vectors(LightningModule):
    """A linear map of the plane, fitted to a stretch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2, bias=False)
        nn.init.eye_(self.net.weight)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return (self.net(x) - y).square().sum(1).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def fitted(*callbacks) -> tuple[Tensor, dict]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 2, generator=generator)
    module = Vectors()
    trainer = quiet_trainer(*callbacks, max_epochs=60)
    trainer.fit(module, DataLoader(TensorDataset(x, x * torch.tensor([1.0, 3.0])), batch_size=64))
    return module.net.weight.detach(), trainer.callback_metrics


def distance(weight: Tensor) -> float:
    """From a I + b J, what commutes with turns."""
    a, b = weight.trace() / 2, (weight[1, 0] - weight[0, 1]) / 2
    return float((weight - a * torch.eye(2) - b * TURN.float()).norm())


def test_penalty_and_augmentation_bring_a_map_to_the_group():
    plain, _ = fitted()
    penalised, logged = fitted(EquivariancePenalty(TURNS, weight=2.0))
    augmented, _ = fitted(GroupAugmentation(TURNS))
    assert distance(plain) > 1.2
    assert distance(penalised) < 0.5 * distance(plain)
    assert distance(augmented) < 0.6 * distance(plain)
    assert float(logged["equivariance_error_penalised"]) < 0.5


def test_errors_are_measured():
    callback = LogEquivariance(group=TURNS, net="net")
    fitted(callback)
    module = Vectors()
    callback._x = torch.randn(8, 2)
    assert callback.measure(module)["equivariance_error"] < 1e-10
    with torch.no_grad():
        module.net.weight[1, 1] = 3.0
    assert callback.measure(module)["equivariance_error"] > 0.1


def test_a_group_without_a_uniform_law_is_refused_when_the_fit_starts():
    for callback in (EquivariancePenalty(BOOSTS), GroupAugmentation(BOOSTS)):
        with pytest.raises(NotCompactError, match="choose one"):
            fitted(callback)
    fitted(EquivariancePenalty(BOOSTS.sampled_by(BOOSTS.sample), weight=1e-3))
