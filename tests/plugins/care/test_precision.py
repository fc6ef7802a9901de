"""Half precision, autocast, accumulated gradients, other forms, checkpoints, augmentations in one product."""

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from gnet.errors import ConfigError, DegenerateInputError, ShapeError
from gnet.groups import Action, SymmetricGroup
from gnet.groups.haar import haar_orthogonal
from gnet.plugins.care import (
    CARELoss,
    CloudEncoder,
    GroupAugmentation,
    alignment,
    care_equivariance,
    chains,
    gamma,
    info_nce,
    measure_symmetry,
    uniformity,
    wahba,
)
from gnet.plugins.care.module import CAREModule, Samples
from gnet.plugins.tensors import SO, U

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
TURNS = GroupAugmentation(SO(3))
LORENTZ = torch.diag(torch.tensor([1.0, -1, -1, -1]))
LOSSES = {
    "info_nce": lambda z, other: info_nce(z, other, 0.5),
    "alignment": alignment,
    "uniformity": lambda z, other: uniformity(z),
    "care_equivariance": lambda z, other: care_equivariance(z, other, 2),
    "wahba": lambda z, other: wahba(z, other).error,
    "gamma": gamma,
}


def fitted(module: CAREModule, **options) -> pl.Trainer:
    x = chains(40, 8, torch.Generator().manual_seed(0))
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", **QUIET, **options)
    trainer.fit(module, datamodule=Samples(x[:32], x[32:], batch_size=8, chunks=2))
    return trainer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_widened(name, dtype, rng):
    z, other = (normalize(torch.randn(8, 64, generator=rng), dim=-1).to(dtype) for _ in range(2))
    found = LOSSES[name](z, other)
    assert found.dtype == torch.float32
    # Unit rows in half precision are no unit rows in float32, so the check there has to be left to the first call.
    expected = LOSSES[name](*(normalize(each.float(), dim=-1) for each in (z, other)))
    assert float(found) == pytest.approx(float(expected), rel=0.05, abs=1e-3)


def test_rows_far_from_norm_one_are_refused_in_half_precision():
    z = torch.eye(8, 64)
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(DegenerateInputError, match="norm 1"):
            uniformity((1.05 * z).to(dtype))
    with pytest.raises(DegenerateInputError, match="norm 1"):
        uniformity(1.001 * z)


def test_autocast_does_not_round_an_exact_rotation(rng):
    z = normalize(torch.randn(32, 16, generator=rng), dim=-1)
    moved = z @ haar_orthogonal(16, 1, rng)[0].float().mT
    with torch.autocast("cpu", torch.bfloat16):
        assert float(care_equivariance(z, moved, 4)) < 1e-10
        assert float(wahba(z, moved, special=False).error) < 1e-4
        liar = ((z @ z.mT).float() - (moved @ moved.mT).float()).square().mean()
    assert float(liar) > 1e-8


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "32-true"])
def test_training_at_any_precision(precision):
    torch.manual_seed(0)
    encoder = CloudEncoder(3, 64, (16, 16), (16,))
    with torch.no_grad():
        for parameter in encoder.parameters():  # else embeddings are constant to rounding, and gamma of a constant is NaN
            parameter *= 5
    module = CAREModule(encoder, TURNS, CARELoss(chunks=2))
    found = fitted(module, precision=precision).callback_metrics
    assert {"train_loss", "val_loss", "val_gamma", "val_wahba"} <= set(found)
    assert all(bool(value.isfinite()) for value in found.values())


class Recording(GroupAugmentation):
    """Keeps what it draws."""

    def __init__(self, group) -> None:
        super().__init__(group)
        self.drawn = []

    def sample(self, num, generator=None):
        self.drawn.append(super().sample(num, generator))
        return self.drawn[-1]


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_every_batch_has_its_own_augmentations(batches):
    turns = Recording(SO(3))
    module = CAREModule(CloudEncoder(3, 4, (8,), (8,)), turns, CARELoss(chunks=2))
    fitted(module, accumulate_grad_batches=batches, limit_val_batches=0)
    assert len(turns.drawn) == 4 == len({tuple(each.flatten().tolist()) for each in turns.drawn})


def test_a_checkpoint_is_loaded_with_its_parts(tmp_path):
    parts = {"encoder": CloudEncoder(3, 4, (8,), (8,)), "augmentation": TURNS, "loss": CARELoss(chunks=2, form=torch.eye(4))}
    module = CAREModule(**parts)
    fitted(module).save_checkpoint(tmp_path / "x.ckpt")
    fresh = {**parts, "encoder": CloudEncoder(3, 4, (8,), (8,)), "loss": CARELoss(chunks=2, form=torch.zeros(4, 4))}
    found = CAREModule.load_from_checkpoint(tmp_path / "x.ckpt", **fresh)
    x = chains(3, 8)
    assert torch.equal(found.cpu()(x), module(x)) and torch.equal(found.loss.form, torch.eye(4))


# --- forms ---


def boosted(z: torch.Tensor) -> torch.Tensor:
    boost = torch.eye(4)
    boost[:2, :2] = torch.tensor([[1.25, 0.75], [0.75, 1.25]])
    return z @ boost.mT


def test_a_loss_with_a_form_takes_rows_of_any_norm(rng):
    z = 3 * torch.randn(8, 4, generator=rng)
    alone = CARELoss(1.0, None, 2, w_inv=0.0, w_unif=0.0, form=LORENTZ)
    assert float(alone(z, boosted(z))) < 1e-6 < float(alone(z, z.flip(-1)))  # an isometry, and none
    spread = CARELoss(1.0, None, 2, w_inv=0.0, w_unif=2.0, form=LORENTZ)
    directions = normalize(torch.cat([z, boosted(z)]), dim=-1)
    torch.testing.assert_close(spread(z, boosted(z)), 2 * uniformity(directions) + alone(z, boosted(z)))
    assert list(spread.terms(z, z)) == ["unif", "equi"] and list(alone.terms(z, z)) == ["equi"]
    with pytest.raises(DegenerateInputError, match="norm 1"):
        CARELoss(1.0, None, 2, w_inv=0.0)(z, z)  # without a form
    for wrong in (torch.ones(2), torch.ones(2, 3)):
        with pytest.raises(ShapeError, match=r"expected form of shape \(D, D\)"):
            CARELoss(form=wrong)
    with pytest.raises(ShapeError, match=r"expected form of shape \(4, 4\) for these rows, got \(3, 3\)"):
        care_equivariance(z, z, 2, torch.eye(3))


@pytest.mark.parametrize("weights", [(0.0, 0.5, 0.0, 0.0), (float("nan"), 0.5, 1.0, 1.0), (1.0, float("nan"), 1.0, 1.0)])
def test_weights_that_make_no_loss(weights):
    lam, tau, w_inv, w_unif = weights
    with pytest.raises(ConfigError):
        CARELoss(lam, tau, 2, w_inv, w_unif)


def test_a_module_normalises_without_a_form_alone():
    x = chains(8, 8)
    for form, is_unit in ((None, True), (LORENTZ, False)):
        torch.manual_seed(0)
        loss = CARELoss(1.0, None, 2, w_inv=0.0, form=form)
        module = CAREModule(CloudEncoder(3, 4, (8,), (8,)), TURNS, loss)
        assert bool(((module(x).norm(dim=-1) - 1).abs() < 1e-4).all()) == is_unit
        found = fitted(module).callback_metrics
        assert bool(found["train_loss"].isfinite()) and ("val_gamma" in found) == is_unit


# --- augmentations and modes ---


TWICE = Action("twice", lambda g, x: x @ (g @ g).to(x).mT)


@pytest.mark.parametrize(
    ("group", "action"),
    [(SO(3), None), (SO(3), TWICE), (SymmetricGroup(5), None), (U(3), None)],
    ids=["turns", "turned twice", "permutations", "unitary"],
)
def test_augmentations_at_once_are_those_one_by_one(group, action, rng):
    turns, x = GroupAugmentation(group, action), torch.randn(4, 6, 5, 3, generator=rng)
    drawn = turns.sample(4, rng)
    x = x.to(torch.complex64) if drawn.is_complex() else x
    one_by_one = torch.stack([turns.action(g, part) for g, part in zip(drawn, x, strict=True)])
    assert torch.equal(turns.apply(drawn, x), one_by_one)
    other = turns.apply(drawn.roll(1, 0), x)  # the liar: those of other samples
    assert not torch.equal(other, one_by_one)


def test_parts_in_evaluation_stay_there_also_after_an_error():
    net = nn.Sequential(nn.Flatten(), nn.Linear(24, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    net[2].eval()
    modes = [each.training for each in net.modules()]
    with pytest.raises(DegenerateInputError):
        measure_symmetry(net, chains(8, 8), TURNS, 2)
    assert [each.training for each in net.modules()] == modes
