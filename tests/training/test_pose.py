"""Errors of poses: the published check values, what each error must not see and what it must, averages, and the drawing."""

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from gnet.errors import ShapeError
from gnet.training.pose import MPJPE, PMPJPE, ActionAverage, aligned, draw_skeletons, mpjpe, p_mpjpe, rerooted

N = 16
EXACT = {"rtol": 1e-13, "atol": 1e-14}


@pytest.fixture
def check() -> tuple[Tensor, Tensor]:
    """The prediction and target of the check values of theory H.3: (16, 3)."""
    m = (3 * torch.arange(N).unsqueeze(1) + torch.arange(3)).double()
    target = (m**2 % 17) / 17
    return target + 0.1 * torch.cos(m), target


@pytest.fixture
def poses(rng) -> tuple[Tensor, Tensor]:
    """Five predictions and targets that are alike: (5, 16, 3)."""
    target = 500 * torch.randn(5, N, 3, generator=rng, dtype=torch.float64)
    return target + 60 * torch.randn(5, N, 3, generator=rng, dtype=torch.float64), target


def turn(rng: torch.Generator) -> Tensor:
    seed = int(torch.randint(2**31, (), generator=rng))
    return torch.from_numpy(Rotation.random(random_state=seed).as_matrix())


# --- check values ---


def test_check_values(check):
    prediction, target = check
    turned = torch.from_numpy(Rotation.from_euler("z", 0.7).as_matrix())
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    found = [
        mpjpe(prediction, target),
        mpjpe(prediction, target, reroot=True),
        p_mpjpe(prediction, target),
        p_mpjpe(2 * target @ turned.T + 1, target),
        mpjpe(mirrored, target),
        mpjpe(mirrored, target, reroot=True),
        p_mpjpe(mirrored, target),
    ]
    expected = [
        *(0.12361186095519314, 0.15324774302729915, 0.11733647443464401, 0.0),
        *(0.9338235294117646, 0.9338235294117646, 0.3853800025600517),
    ]
    torch.testing.assert_close(torch.stack(found), torch.tensor(expected, dtype=torch.float64), **EXACT)


def test_metrics_give_the_check_values(check):
    prediction, target = (each.unsqueeze(0) for each in check)
    for metric, expected in (
        (MPJPE(), 0.12361186095519314),
        (MPJPE(reroot=True), 0.15324774302729915),
        (PMPJPE(), 0.11733647443464401),
    ):
        metric.update(prediction, target, torch.ones_like(target, dtype=torch.bool))
        assert metric.compute().item() == pytest.approx(expected, rel=1e-13)


# --- alignment ---


def test_p_mpjpe_does_not_see_a_similarity_of_the_prediction(poses, rng):
    prediction, target = poses
    moved = torch.stack([0.1 + torch.rand((), generator=rng).double() * 5 for _ in range(5)])[:, None, None] * prediction
    moved = moved @ torch.stack([turn(rng) for _ in range(5)]).mT + 1000 * torch.randn(5, 1, 3, generator=rng).double()
    torch.testing.assert_close(p_mpjpe(moved, target), p_mpjpe(prediction, target), rtol=1e-10, atol=0)
    torch.testing.assert_close(aligned(moved, target), aligned(prediction, target), rtol=1e-10, atol=1e-9)
    assert abs(mpjpe(moved, target) - mpjpe(prediction, target)) > 10  # the liar: plain distance sees all of it


def test_p_mpjpe_of_a_moved_target_keeps_its_unit(poses, rng):
    prediction, target = poses
    moved = 3 * target @ turn(rng).T + 40
    torch.testing.assert_close(p_mpjpe(prediction, moved), 3 * p_mpjpe(prediction, target), rtol=1e-10, atol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_reflection_is_not_undone(poses, axis):
    _, target = poses
    mirrored = target * torch.ones(3).double().index_fill(0, torch.tensor([axis]), -1.0)
    assert p_mpjpe(mirrored, target) > 50
    assert p_mpjpe(target, target) < 1e-9


def test_a_liar_that_allows_reflections_is_caught(poses):
    _, target = poses

    def lying(prediction: Tensor, target: Tensor) -> Tensor:  # R = V U', as one writes it from memory
        x, y = (each - each.mean(-2, keepdim=True) for each in (target, prediction))
        u, s, vh = torch.linalg.svd(x.mT @ y)
        scale = s.sum(-1)[:, None, None] / y.square().sum((1, 2), keepdim=True)
        return mpjpe(scale * y @ vh.mT @ u.mT, x)

    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    assert lying(mirrored, target) < 1e-9
    assert p_mpjpe(mirrored, target) > 50


def test_alignment_is_the_best_among_its_neighbours(poses, rng):
    prediction, target = poses
    best = aligned(prediction, target)
    least = (best - target).square().sum((1, 2))
    for _ in range(20):
        small = torch.from_numpy(Rotation.from_rotvec(0.02 * torch.randn(3, generator=rng).numpy()).as_matrix())
        other = (1 + 0.02 * torch.randn((), generator=rng)) * best @ small + 2 * torch.randn(3, generator=rng)
        assert ((other - target).square().sum((1, 2)) >= least).all()


def test_frames_are_aligned_one_by_one(poses):
    prediction, target = poses
    each = torch.stack([aligned(p, t) for p, t in zip(prediction, target, strict=True)])
    torch.testing.assert_close(aligned(prediction, target), each, rtol=1e-12, atol=1e-10)
    pooled = aligned(prediction.reshape(1, -1, 3), target.reshape(1, -1, 3)).reshape(5, N, 3)  # the liar: one similarity for all
    assert not torch.allclose(pooled, each)


def test_poses_without_extent(check):
    _, target = (each.unsqueeze(0) for each in check)
    point = torch.ones_like(target)
    spread = (target - target.mean(1, keepdim=True)).norm(dim=-1).mean()
    torch.testing.assert_close(p_mpjpe(point, target), spread)
    assert p_mpjpe(target, point) < 1e-12
    flat = target * torch.tensor([1.0, 1.0, 0.0])
    assert p_mpjpe(flat * 2 + 1, flat) < 1e-12


def test_a_frame_that_is_not_finite_spoils_no_other(poses):
    prediction, target = poses
    broken = prediction.clone()
    broken[2, 3, 1] = torch.nan
    moved = aligned(broken, target)
    assert moved[2].isnan().all()
    torch.testing.assert_close(moved[[0, 1, 3, 4]], aligned(prediction, target)[[0, 1, 3, 4]])


def test_dtype_follows_the_prediction(poses):
    prediction, target = (each.float() for each in poses)
    assert aligned(prediction, target).dtype == torch.float32
    torch.testing.assert_close(p_mpjpe(prediction, target).double(), p_mpjpe(*poses), rtol=1e-5, atol=0)


# --- re-rooting ---


def test_rerooting_is_out_of_place_and_independent_of_the_batch(poses):
    prediction, target = poses
    kept = prediction.clone(), target.clone()
    whole = mpjpe(prediction, target, reroot=True)
    one_by_one = torch.stack([mpjpe(p[None], t[None], reroot=True) for p, t in zip(prediction, target, strict=True)]).mean()
    torch.testing.assert_close(whole, one_by_one)
    assert torch.equal(prediction, kept[0])
    assert torch.equal(target, kept[1])
    assert (rerooted(prediction)[:, 0] == 0).all()
    torch.testing.assert_close(rerooted(prediction)[:, 5], prediction[:, 5] - prediction[:, 0])


def test_rerooting_in_place_is_the_liar(poses):
    prediction, _ = poses
    in_place = prediction.clone()
    try:
        in_place -= in_place[:, :1]
    except RuntimeError:  # "some elements of the input tensor and the written-to tensor refer to a single memory location"
        return
    assert not torch.allclose(in_place, rerooted(prediction))


def test_rerooting_does_not_see_a_translation(poses):
    prediction, target = poses
    moved = prediction + torch.tensor([100.0, -50.0, 7.0])
    torch.testing.assert_close(mpjpe(moved, target, reroot=True), mpjpe(prediction, target, reroot=True))
    assert not torch.isclose(mpjpe(moved, target), mpjpe(prediction, target))


# --- metrics ---


@pytest.mark.parametrize("metric", [MPJPE, PMPJPE])
def test_the_mean_over_ragged_batches_is_that_over_frames(poses, metric):
    prediction, target = poses
    whole, parts = metric(), metric()
    whole.update(prediction, target)
    for rows in (slice(0, 4), slice(4, 5)):
        parts.update(prediction[rows], target[rows])
    torch.testing.assert_close(parts.compute(), whole.compute())
    function = mpjpe if metric is MPJPE else p_mpjpe
    torch.testing.assert_close(whole.compute(), function(prediction, target))
    batches = torch.stack([function(prediction[rows], target[rows]) for rows in (slice(0, 4), slice(4, 5))])
    assert not torch.isclose(batches.mean(), whole.compute(), rtol=1e-6)  # the liar: a mean of batch means
    assert torch.isclose(metric()(prediction, target), whole.compute())  # as a function of one batch


@pytest.mark.parametrize(("metric", "reroot"), [(MPJPE, False), (MPJPE, True), (PMPJPE, False)])
def test_masked_joints_are_left_out(poses, metric, reroot):
    prediction, target = poses
    options = {"reroot": True} if reroot else {}
    mask = torch.ones_like(target, dtype=torch.bool)
    mask[:, 3] = False
    mask[:, 7, 2] = False  # one coordinate that is missing takes the joint along
    kept = [joint for joint in range(N) if joint not in (3, 7)]
    expected = metric(**options)
    expected.update(prediction[:, kept], target[:, kept])
    spoiled, nowhere = prediction.clone(), target.clone()
    spoiled[:, 3], nowhere[:, 7] = 1e9, torch.nan
    found = metric(**options)
    found.update(spoiled, nowhere, mask)
    torch.testing.assert_close(found.compute(), expected.compute())
    unmasked = metric(**options)
    unmasked.update(spoiled, target)
    assert not torch.isclose(unmasked.compute(), expected.compute())


def test_a_frame_without_its_root_cannot_be_rerooted(poses):
    prediction, target = poses
    mask = torch.ones_like(target, dtype=torch.bool)
    mask[1, 0] = False
    found, expected = MPJPE(reroot=True), MPJPE(reroot=True)
    found.update(prediction, target, mask)
    expected.update(prediction[[0, 2, 3, 4]], target[[0, 2, 3, 4]])
    torch.testing.assert_close(found.compute(), expected.compute())


def test_nothing_counted_is_no_number(poses):
    metric = PMPJPE()
    metric.update(*poses, torch.zeros(5, N, 3, dtype=torch.bool))
    assert metric.compute().isnan()
    metric.reset()
    metric.update(*poses)
    torch.testing.assert_close(metric.compute(), p_mpjpe(*poses))


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"two poses \(\*, N, 3\) of one shape, got prediction \(2, 4, 3\), target \(2, 5, 3\)"):
        mpjpe(torch.zeros(2, 4, 3), torch.zeros(2, 5, 3))
    with pytest.raises(ShapeError, match=r"got prediction \(4, 2\), target \(4, 2\)"):
        p_mpjpe(torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(ShapeError, match=r"a mask of that shape, got poses \(2, 4, 3\), mask \(2, 4\)"):
        MPJPE().update(torch.zeros(2, 4, 3), torch.zeros(2, 4, 3), torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"batches \(B, N, 3\) and a mask of that shape, got poses \(4, 3\), mask None"):
        PMPJPE().update(torch.zeros(4, 3), torch.zeros(4, 3))


# --- actions ---


@pytest.mark.parametrize("metric", [MPJPE, PMPJPE])
def test_the_average_over_actions_is_another_than_that_over_frames(poses, metric):
    prediction, target = poses
    actions = torch.tensor([2, 0, 0, 2, 2])
    average = ActionAverage(metric(), actions, num_actions=4)
    for rows in (slice(0, 2), slice(2, 5)):
        average.update(prediction[rows], target[rows])
    of_each = []
    for action in (0, 2):
        one = metric()
        one.update(prediction[actions == action], target[actions == action])
        of_each.append(one.compute())
    torch.testing.assert_close(average.compute(), torch.stack(of_each).mean())
    torch.testing.assert_close(average.per_action()[[0, 2]], torch.stack(of_each))
    assert average.per_action()[[1, 3]].isnan().all()
    frames = metric()
    frames.update(prediction, target)
    assert not torch.isclose(frames.compute(), average.compute(), rtol=1e-6)


def test_actions_may_come_with_the_batch(poses):
    prediction, target = poses
    actions = torch.tensor([0, 1, 1, 0, 1])
    in_order, given = ActionAverage(MPJPE(), actions), ActionAverage(MPJPE(), actions)
    in_order.update(prediction, target)
    shuffled = torch.tensor([4, 2, 0, 1, 3])
    given.update(prediction[shuffled], target[shuffled], actions=actions[shuffled])
    torch.testing.assert_close(given.compute(), in_order.compute())


def test_more_samples_than_actions_are_refused_until_reset(poses):
    average = ActionAverage(MPJPE(), torch.tensor([0, 1, 1, 0, 1]))
    average.update(*poses)
    with pytest.raises(ShapeError, match=r"an action for each of 5 samples, got \(0,\) after 5 of 5; reset the metric"):
        average.update(*poses)
    first = average.compute()
    average.reset()
    average.update(*poses)
    torch.testing.assert_close(average.compute(), first)


# --- drawing ---


def test_draws_predicted_against_true_skeletons(poses, tmp_path):
    from matplotlib.figure import Figure

    prediction, target = poses
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    figure = Figure(figsize=(6, 2))
    draw_skeletons(figure, prediction, target, edges, num_frames=3)
    assert len(figure.axes) == 3
    assert [len(axes.lines) for axes in figure.axes] == [4, 4, 4]  # two bones, twice
    x, y, z = figure.axes[1].lines[0].get_data_3d()
    torch.testing.assert_close(torch.tensor([x[1], -z[1], y[1]]).double(), target[1, 1])
    figure.savefig(tmp_path / "poses.png")
    assert (tmp_path / "poses.png").stat().st_size > 1000
