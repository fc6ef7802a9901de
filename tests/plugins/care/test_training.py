"""Views, encoders, chains and probes; Lightning trains; the experiments run in small from their configs."""

import math
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from gnet.cli import main
from gnet.errors import ConfigError, DegenerateInputError, NotCompactError, ShapeError
from gnet.plugins.care import (
    CARELoss,
    CloudEncoder,
    GroupAugmentation,
    ImageAugmentation,
    ImageEncoder,
    Ridge,
    Views,
    axis_angles,
    axis_entries,
    chains,
    measure_symmetry,
    nearest,
    principal_axis,
    probe_axis,
    turned,
    with_products,
)
from gnet.plugins.care.digits import ContrastiveDigits, digit_split
from gnet.plugins.care.digits import pass_rules as rules_of_digits
from gnet.plugins.care.experiment import SyntheticClouds, pass_rules
from gnet.plugins.care.module import CAREModule, Samples
from gnet.plugins.tensors import SO, Lorentz

ROOT = Path(__file__).resolve().parents[3]
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
TURNS = GroupAugmentation(SO(3))


def small(chunks: int = 2, **options) -> CAREModule:
    loss = CARELoss(10.0, None, chunks, w_inv=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CAREModule(CloudEncoder(3, 4, (16, 16), (16,)), TURNS, loss, lr=1e-2, **options)


# --- views ---


def test_a_chunk_shares_one_pair_and_chunks_do_not(rng):
    x = torch.randn(6, 5, 3, dtype=torch.float64, generator=rng)
    for view in Views(TURNS, chunks=2)(x, rng):
        maps = [torch.linalg.lstsq(before, after).solution for before, after in zip(x, view, strict=True)]
        gaps = [[float((one - other).abs().max()) for other in maps] for one in maps]
        for i in range(6):
            for j in range(6):
                assert (gaps[i][j] < 1e-9) == (i // 3 == j // 3)
        torch.testing.assert_close(maps[0] @ maps[0].mT, torch.eye(3, dtype=torch.float64))
    alone = Views(TURNS, chunks=2, same_for_chunk=False)(x, rng)[0]  # the liar
    first, second = (torch.linalg.lstsq(x[i], alone[i]).solution for i in range(2))
    assert float((first - second).abs().max()) > 1e-6


def test_views_are_decided_by_their_generator():
    x = chains(4, 8)
    one, other = (Views(TURNS, 2)(x, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]) and not torch.equal(one[0], one[1])


def test_quarter_turns_and_shifts_of_images_are_those_of_pixels(rng):
    images = torch.rand(2, 3, 1, 6, 6, generator=rng)
    quarter = torch.tensor([[math.pi / 2, 0, 0, 1], [0, 0, 0, 0.5]])
    found = ImageAugmentation().apply(quarter, images)
    turned_once = [images[0].rot90(times, (-2, -1)) for times in (1, 3)]
    assert min(float((found[0] - each).abs().max()) for each in turned_once) < 1e-5
    torch.testing.assert_close(found[1], images[1] / 2, atol=1e-6, rtol=0)
    wide = torch.rand(1, 1, 1, 3, 5, generator=rng)
    moved = ImageAugmentation().apply(torch.tensor([[0.0, 2.0, -1.0, 1.0]]), wide)[0, 0, 0]
    expected = torch.zeros(3, 5)
    expected[:2, 2:] = wide[0, 0, 0, 1:, :3]
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_image_augmentations_stay_within_their_limits(rng):
    drawn = ImageAugmentation(30.0, 2.0, 0.25).sample(500, rng)
    limits = torch.tensor([math.pi / 6, 2.0, 2.0, 0.25])
    offsets = (drawn - torch.tensor([0.0, 0.0, 0.0, 1.0])).abs().amax(0)
    assert bool((offsets <= limits).all()) and bool((offsets > 0.9 * limits).all())
    assert repr(ImageAugmentation()) == "ImageAugmentation(degrees=30, shift=1, contrast=0.3)"
    assert repr(Views(TURNS, 4)) == "Views(GroupAugmentation(SO(3)), chunks=4, same_for_chunk=True)"


# --- encoders, chains, probes ---


def test_the_encoder_does_not_see_the_order_of_points(rng):
    net, x = CloudEncoder(3, 4).double(), torch.randn(2, 7, 3, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(net(x[:, torch.randperm(7, generator=rng)]), net(x), atol=1e-12, rtol=0)
    assert float((net(x + 1) - net(x)).detach().abs().max()) > 1e-6


def test_chains_are_smooth_centred_and_of_unit_size(rng):
    x = chains(200, generator=rng)
    torch.testing.assert_close(x.mean(1), torch.zeros(200, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.square().sum(-1).mean(-1), torch.ones(200))
    steps = x.diff(dim=1)
    correlation = [(steps[:, lag:] * steps[:, : 63 - lag]).sum() / (63 - lag) / (steps.square().sum() / 63) for lag in range(8)]
    # Sums of five normal steps: one less in common for each lag.
    assert torch.tensor(correlation).tolist() == pytest.approx([max(0.0, 1 - lag / 5) for lag in range(8)], abs=0.08)


def test_the_axis_turns_with_the_cloud_and_its_entries_forget_the_sign(rng):
    x = torch.randn(5, 9, 3, dtype=torch.float64, generator=rng) * torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    g = SO(3).sample(1, rng)[0]
    before, after = principal_axis(x), principal_axis(x @ g.mT)
    assert bool((((before @ g.mT) * after).sum(-1).abs() - 1 < 1e-10).all())
    torch.testing.assert_close(axis_angles(x @ g.mT, x @ g.mT), torch.zeros(5, dtype=torch.float64), atol=1e-4, rtol=0)
    rows, columns = torch.triu_indices(3, 3)
    torch.testing.assert_close(axis_entries(x), (before[..., None] * before[..., None, :])[..., rows, columns])
    with pytest.raises(DegenerateInputError, match="as long along another"):
        principal_axis(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))


def test_ridge_is_that_of_the_normal_equations_with_an_intercept(rng):
    z, y = (torch.randn(20, size, dtype=torch.float64, generator=rng) for size in (3, 2))
    fit = Ridge.fit(z, y, 0.7)
    augmented = torch.cat([z, torch.ones(20, 1, dtype=torch.float64)], 1)
    penalty = 0.7 * torch.diag(torch.tensor([1.0, 1, 1, 0], dtype=torch.float64))
    solved = torch.linalg.solve(augmented.mT @ augmented + penalty, augmented.mT @ y)
    torch.testing.assert_close(torch.cat([fit.weight, fit.intercept[None]]), solved)
    assert fit.r2(z, fit(z)) == pytest.approx(1) and fit.r2(z, y) < 1


def test_the_probe_knows_what_moments_know_and_nothing_of_constants(rng):
    x = chains(300, 16, rng)

    def moments(cloud):
        return normalize((cloud.mT @ cloud).flatten(1), dim=-1)

    knows = probe_axis(moments, x[:200], x[200:], rng)
    assert knows.quadratic > 0.7 > abs(probe_axis(lambda cloud: torch.ones(len(cloud), 2), x[:200], x[200:], rng).linear)
    assert with_products(torch.ones(2, 16)).shape == (2, 16 + 136)
    assert float(axis_angles(turned(x, rng), turned(x, rng)).mean()) == pytest.approx(57.3, abs=6)


class Invariant(nn.Module):
    """Sorted lengths: no rotation changes them."""

    def forward(self, x):
        return normalize(x.norm(dim=-1).sort(-1).values, dim=-1)


def test_symmetry_tells_invariance_equivariance_and_neither_apart(rng):
    x = torch.randn(30, 5, 3, dtype=torch.float64, generator=rng)
    invariant = measure_symmetry(Invariant(), x, TURNS, 3, rng)
    assert invariant.distance < 1e-12 and invariant.wahba < 1e-12 and math.isnan(invariant.gamma)
    equivariant = measure_symmetry(lambda cloud: normalize(cloud.sum(1), dim=-1), x, TURNS, 3, rng)
    assert equivariant.distance > 0.1 and equivariant.wahba < 1e-12 and equivariant.gamma < 1e-12
    net = nn.Sequential(CloudEncoder(3, 4).double(), nn.Dropout(0.5)).train()
    neither = measure_symmetry(lambda cloud: normalize(net[0](cloud) - net[0](x).mean(0), dim=-1), x, TURNS, 3, rng)
    assert neither.wahba > 1e-2 and neither.gamma > 1e-2
    measure_symmetry(nn.Sequential(Invariant(), nn.Dropout(0.5)), x, TURNS, 1, rng)  # in evaluation mode: rows stay of norm 1
    assert net.training


def test_neighbours_by_brute_force(rng):
    query, database = (normalize(torch.randn(size, 4, generator=rng), dim=-1) for size in (3, 9))
    found = nearest(query, database, 4)
    for row, each in zip(found, query, strict=True):
        assert row.tolist() == sorted(range(9), key=lambda i: -float(database[i] @ each))[:4]


# --- training ---


def test_lightning_trains_and_validates():
    module, x = small(), chains(64, 8, torch.Generator().manual_seed(0))
    data = Samples(x[:48], x[48:], batch_size=16, chunks=2)
    before = measure_symmetry(module.eval(), x, TURNS, 5, torch.Generator().manual_seed(1))
    trainer = pl.Trainer(max_epochs=30, accelerator="cpu", **QUIET)
    trainer.fit(module.train(), datamodule=data)
    assert {"train_loss", "train_equi", "train_unif", "val_loss", "val_gamma", "val_wahba"} <= set(trainer.callback_metrics)
    after = measure_symmetry(module.eval(), x, TURNS, 5, torch.Generator().manual_seed(1))
    assert after.distance > 3 * before.distance  # no longer collapsed
    assert len(Samples(x, batch_size=16).val_dataloader()) == 0


def test_the_seed_decides_the_run():
    x, runs = chains(16, 8, torch.Generator().manual_seed(0)), []
    for seed in (0, 0, 1):
        module = small(seed=seed)
        pl.Trainer(max_epochs=2, accelerator="cpu", **QUIET).fit(module, datamodule=Samples(x, batch_size=8, chunks=2))
        runs.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_weights_decay_where_asked():
    assert type(small().configure_optimizers()) is torch.optim.Adam
    assert type(small(weight_decay=0.1).configure_optimizers()) is torch.optim.AdamW


def test_digits_are_cut_once_and_for_all():
    val, test = digit_split("val"), digit_split("test")
    assert (len(val.held_out), len(test.held_out)) == (200, 497)
    assert torch.equal(val.train, test.train)
    kept = {tuple(image.flatten().tolist()) for image in test.held_out}
    assert len(kept & {tuple(image.flatten().tolist()) for image in val.train}) == 0


# --- experiments ---

SMALL = {
    "clouds": (
        "seeds=2",
        "epochs=1",
        "invariant_epochs=1",
        "num_train=32",
        "num_test=20",
        "batch_size=32",
        "num_points=8",
        "num_elements=2",
    ),
    "images": ("seeds=1", "epochs=1", "width=4", "num_elements=2", "held_out=val"),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_experiments_in_small(name, tmp_path, capsys):
    config = ROOT / "configs" / "plugins" / "care" / f"{name}.yaml"
    settings = [f"--simulation.init_args.{each}" for each in SMALL[name]]
    assert main(["simulate", "--config", str(config), "--out", str(tmp_path), *settings]) == 0
    printed = capsys.readouterr().out
    assert "| CARE | " in printed and "gamma of InfoNCE at least" in printed
    assert (tmp_path / "figure.png").is_file()


def test_what_counts_as_reproduced():
    good = {("care", "r2_linear"): 0.94, ("random", "r2_linear"): 0.5, ("invariant", "r2_linear"): 0.3}
    good |= {("care", "gamma"): 1e-3, ("invariant", "gamma"): 4.0}
    assert [is_met for _, is_met in pass_rules(good)] == [True, True, True]
    for key, value in ((("care", "r2_linear"), 0.89), (("random", "r2_linear"), 0.2), (("care", "gamma"), 0.05)):
        assert sum(not is_met for _, is_met in pass_rules({**good, key: value})) == 1
    digits = {("care", "gamma"): 1.0, ("invariant", "gamma"): 1.5, ("care", "accuracy"): 0.9, ("invariant", "accuracy"): 0.95}
    assert [is_met for _, is_met in rules_of_digits(digits)] == [False, False]
    assert pass_rules({}) == rules_of_digits({}) == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Views(TURNS, 3)(torch.zeros(8, 4, 3)), ShapeError, "got 8 samples in 3 chunks"),
        (lambda: Views(TURNS, 8)(torch.zeros(8, 4, 3)), ShapeError, "two samples or more"),
        (lambda: GroupAugmentation(Lorentz(3)), NotCompactError, "no uniform law"),
        (lambda: ImageAugmentation(contrast=2.0), ConfigError, "0 <= contrast <= 1"),
        (lambda: ImageAugmentation().apply(torch.zeros(1, 4), torch.zeros(1, 8, 8)), ShapeError, "x \\(K, m, C, H, W\\)"),
        (lambda: ImageEncoder()(torch.zeros(1, 3, 8, 8)), ShapeError, r"images \(B, 1, H, W\)"),
        (lambda: CAREModule(nn.Identity(), TURNS, CARELoss(1.0), same_for_chunk=False), ConfigError, "same_for_chunk=True"),
        (lambda: Samples(torch.zeros(8, 1), batch_size=8, chunks=8), ShapeError, "two samples or more"),
        (lambda: Samples(torch.zeros(8, 1), batch_size=16), ConfigError, "batch_size <= 8"),
        (lambda: chains(2, 1), ConfigError, "num_points >= 2"),
        (lambda: Ridge.fit(torch.zeros(3, 2), torch.zeros(2, 1)), ShapeError, "expected z"),
        (lambda: Ridge.fit(torch.zeros(3, 2), torch.zeros(3, 1), 0.0), ConfigError, "alpha > 0"),
        (lambda: nearest(torch.eye(3), torch.eye(3), 4), ShapeError, "N >= 4"),
        (lambda: measure_symmetry(Invariant(), torch.zeros(3, 2, 3), TURNS, 0), ConfigError, "num_elements >= 1"),
        (lambda: digit_split("train"), ConfigError, "got 'train'"),
        (lambda: SyntheticClouds(["cnn"]), ConfigError, "got 'cnn'"),
        (lambda: SyntheticClouds(epochs=0), ConfigError, "epochs"),
        (lambda: ContrastiveDigits(["cnn"]), ConfigError, "got 'cnn'"),
        (lambda: ContrastiveDigits(seeds=0), ConfigError, "seeds"),
        (lambda: ContrastiveDigits(held_out="train"), ConfigError, "got 'train'"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
