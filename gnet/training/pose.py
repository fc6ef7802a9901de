"""Errors of 3-D poses: the mean distance of joints, as it stands and after the best similarity, over frames or over actions."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from gnet.errors import ShapeError


def mpjpe(prediction: Tensor, target: Tensor, reroot: bool = False) -> Tensor:
    """Mean per joint position error: the distance of each joint from where it should be, averaged over frames and joints.

    Args:
        reroot: first subtract joint 0, the root, from all joints of both poses; the inputs are left as they are.

    Shapes:
        prediction, target: (*, N, 3)    returns: ()

    Units: those of the poses.

    Raises:
        ShapeError: two shapes, or no three coordinates.

    References:
        Ionescu, Papava, Olaru and Sminchisescu (2014), doi:10.1109/TPAMI.2013.248, protocol 1 (re-rooted).

    Example:
        >>> target = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]]])
        >>> prediction = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 3.0, 4.0]]])
        >>> mpjpe(prediction, target), mpjpe(prediction, target, reroot=True)
        (tensor(2.5000), tensor(1.5000))
    """
    _check(prediction, target)
    if reroot:
        prediction, target = rerooted(prediction), rerooted(target)
    return (prediction - target).norm(dim=-1).mean()


def p_mpjpe(prediction: Tensor, target: Tensor) -> Tensor:
    """The same after each predicted frame was moved onto its target by the best similarity; see ``aligned``.

    Shapes:
        prediction, target: (*, N, 3)    returns: ()

    Units: those of the target; the prediction may have another one, its scale is fitted.

    Raises:
        ShapeError: two shapes, or no three coordinates.

    Example:
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
        >>> turned = 2 * target[:, [1, 2, 0]] + 5
        >>> bool(p_mpjpe(turned, target) < 1e-6), bool(p_mpjpe(-turned, target) > 0.1)  # a reflection is no similarity
        (True, True)
    """
    return mpjpe(aligned(prediction, target), target)


def rerooted(pose: Tensor) -> Tensor:
    """A new tensor with joint 0 in the origin.

    Subtracting in place would read the root after it was set to 0, and leave all other joints where they are.

    Shapes:
        pose: (*, N, 3)    returns: the same

    Example:
        >>> rerooted(torch.tensor([[[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]]))
        tensor([[[0., 0., 0.],
                 [0., 1., 2.]]])
    """
    return pose - pose[..., :1, :]


def aligned(prediction: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """Each frame of the prediction under the scale, proper rotation and translation that bring it closest to its target.

    With X and Y target and prediction, centred, and X0, Y0 the same at Frobenius norm one: X0' Y0 = U diag(s) V',
    D = diag(1, 1, det(V U')), and the frame becomes (tr(diag(s) D) |X| / |Y|) Y V D U' + the mean of the target. Not to be
    differentiated: the singular vectors of a degenerate pose have no derivative. Computed in float64 on the CPU, which is fast
    for 3 x 3 matrices, and which every machine has.

    Args:
        counted: the joints that take part; None is all. Joints left out are moved along.

    Shapes:
        prediction, target: (*, N, 3)    counted: bool (*, N)    returns: like prediction; NaN for a frame with a counted
        joint that is not finite

    Raises:
        ShapeError: two shapes, or no three coordinates.

    References:
        Schoenemann (1966), doi:10.1007/BF02289451; Umeyama (1991), doi:10.1109/34.88573, on the sign of the determinant.
    """
    _check(prediction, target)
    weight = torch.ones(target.shape[:-1]) if counted is None else counted.cpu()
    weight = weight.double().unsqueeze(-1)  # (*, N, 1)
    there, here = (each.detach().cpu().double() for each in (target, prediction))
    finite = ((there.isfinite() & here.isfinite()) | (weight == 0)).all(-1).all(-1)
    there, here = (each.nan_to_num(0.0, 0.0, 0.0).masked_fill(~finite[..., None, None], 0.0) for each in (there, here))
    joints = weight.sum(-2, keepdim=True).clamp_min(1)
    centre, start = ((each * weight).sum(-2, keepdim=True) / joints for each in (there, here))
    x, y = (there - centre) * weight, (here - start) * weight
    size, spread = (each.flatten(-2).norm(dim=-1)[..., None, None] for each in (x, y))
    # A pose whose joints all coincide has no direction: its size counts as 1, its product with anything is 0.
    x, y = (each / torch.where(norm > 0, norm, 1.0) for each, norm in ((x, size), (y, spread)))
    u, s, vh = torch.linalg.svd(x.mT @ y)
    sign = torch.ones_like(s)
    sign[..., 2] = torch.det(vh.mT @ u.mT).sign()
    rotation = (vh.mT * sign.unsqueeze(-2)) @ u.mT
    scale = (s * sign).sum(-1)[..., None, None] * size / torch.where(spread > 0, spread, 1.0)
    moved = (scale * (here - start) @ rotation + centre).masked_fill(~finite[..., None, None], torch.nan)
    return moved.to(prediction.device, prediction.dtype)


class JointError(Metric):
    """Mean over all frames and joints that count; a subclass says what the error of a joint is.

    Sums are kept in float64: an epoch of Human3.6M has nine million joints.

    Shapes:
        prediction, target: (B, N, 3) in physical units    mask: bool (B, N, 3); a joint counts with all its coordinates
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @abstractmethod
    def errors(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Error of every joint, 0 where it does not count, and whether it does: (B, N) and bool (B, N)."""

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch."""
        errors, counted = self.errors(prediction, target, mask)
        self.total = self.total + errors.sum(dtype=self.total.dtype).to(self.total.device)
        self.count = self.count + counted.sum().to(self.count.device)

    def compute(self) -> Tensor:
        """The mean, NaN when nothing was counted."""
        return self.total / self.count


class MPJPE(JointError):
    """Mean distance of the joints from where they should be; see ``mpjpe``.

    Args:
        reroot: subtract joint 0 from both poses first; a frame whose joint 0 does not count is then left out.
        options: see ``torchmetrics.Metric``.

    Example:
        >>> metric = MPJPE()
        >>> metric.update(torch.ones(2, 4, 3), torch.zeros(2, 4, 3), torch.ones(2, 4, 3, dtype=torch.bool))
        >>> metric.compute()
        tensor(1.7321, dtype=torch.float64)
    """

    def __init__(self, reroot: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.reroot = reroot

    def errors(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Distances."""
        counted = _counted(prediction, target, mask)
        if self.reroot:
            prediction, target, counted = rerooted(prediction), rerooted(target), counted & counted[:, :1]
        return (prediction - target).norm(dim=-1).masked_fill(~counted, 0.0), counted


class PMPJPE(JointError):
    """Mean distance of the joints after the best similarity of each frame, fitted to the joints that count; see ``p_mpjpe``.

    Example:
        >>> metric = PMPJPE()
        >>> target = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 0.0, 2.0]]])
        >>> metric.update(2 * target + 1, target)
        >>> bool(metric.compute() < 1e-6)
        True
    """

    def errors(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Distances after alignment."""
        counted = _counted(prediction, target, mask)
        moved = aligned(prediction, target, counted)
        return (moved - target).norm(dim=-1).masked_fill(~counted, 0.0), counted


class ActionAverage(Metric):
    """The mean over actions of the mean error of each action, where ``JointError`` is the mean over frames.

    The two differ as soon as actions have different numbers of frames, so a table says which it shows; published tables of
    Human3.6M have both.

    Args:
        metric: the error of a joint.
        actions: of each sample, in the order in which they will come; for ``update`` without actions, in one process.
        num_actions: how many there are; None takes those that occur in ``actions``.
        options: see ``torchmetrics.Metric``.

    Shapes:
        actions: (M,) integers in 0..num_actions-1

    Raises:
        ShapeError: more samples than actions, or an action for no sample.

    Example:
        >>> average = ActionAverage(MPJPE(), torch.tensor([0, 0, 0, 1]))
        >>> target = torch.zeros(4, 1, 3)
        >>> average.update(torch.tensor([1.0, 1.0, 1.0, 5.0]).reshape(4, 1, 1) * torch.eye(3)[:1], target)
        >>> average.compute(), average.per_action()
        (tensor(3., dtype=torch.float64), tensor([1., 5.], dtype=torch.float64))
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = True  # where a batch is, says which actions it has
    totals: Tensor
    counts: Tensor
    seen: Tensor

    def __init__(self, metric: JointError, actions: Tensor, num_actions: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.metric, self.actions = metric, actions.cpu().long()
        size = int(self.actions.max()) + 1 if num_actions is None else num_actions
        for name in ("totals", "counts"):
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None, actions: Tensor | None = None) -> None:
        """Add a batch; ``actions`` (B,) are those of its samples, else the next ones in order."""
        if actions is None:
            start = int(self.seen)
            actions = self.actions[start : start + len(prediction)]
        if actions.shape != prediction.shape[:1]:
            raise ShapeError(
                f"expected an action for each of {len(prediction)} samples, got {tuple(actions.shape)} after {int(self.seen)} "
                f"of {len(self.actions)}; reset the metric before another pass"
            )
        errors, counted = self.metric.errors(prediction, target, mask)
        place = actions.to(self.totals.device).long()
        self.totals = self.totals.index_add(0, place, errors.to(self.totals).sum(1))
        self.counts = self.counts.index_add(0, place, counted.to(self.counts).sum(1))
        self.seen = self.seen + len(prediction)

    def per_action(self) -> Tensor:
        """The mean of each action, NaN for one that did not occur."""
        return self.totals / self.counts

    def compute(self) -> Tensor:
        """The mean over the actions that occurred."""
        return self.per_action()[self.counts > 0].mean()


def draw_skeletons(figure: Any, prediction: Tensor, target: Tensor, edge_index: Tensor, num_frames: int = 4) -> None:
    """Draw predicted (orange) against true (black) skeletons, side by side, into an empty Matplotlib figure.

    The caller makes and saves the figure (``matplotlib.figure.Figure`` needs neither a window nor pyplot). See ``draw_skeleton``.

    Args:
        figure: a ``matplotlib.figure.Figure``.
        num_frames: the first ones of the batch.

    Shapes:
        prediction, target: (B, N, 3) in camera coordinates    edge_index: (2, E)

    Raises:
        ShapeError: two shapes, or no three coordinates.
    """
    _check(prediction, target)
    shown = min(num_frames, len(target))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0)
    for frame in range(shown):
        axes = figure.add_subplot(1, shown, frame + 1, projection="3d")
        draw_skeleton(axes, prediction[frame], target[frame], edge_index)


def draw_skeleton(axes: Any, prediction: Tensor | None, target: Tensor, edge_index: Tensor) -> None:
    """Draw one predicted (orange) and the true skeleton (black) into three-dimensional Matplotlib axes.

    The camera's y axis points down and its z axis away from it; they are turned so that people stand upright. The box is that of
    the true pose, whatever is predicted, so that pictures of one frame can be compared.

    Args:
        axes: made with ``projection="3d"``.
        prediction: None draws the true one alone.

    Shapes:
        prediction, target: (N, 3) in camera coordinates    edge_index: (2, E)
    """
    bones = edge_index[:, edge_index[0] < edge_index[1]].T.tolist()
    for pose, colour in ((target, "black"), (prediction, "tab:orange")):
        if pose is None:
            continue
        x, y, z = pose.detach().cpu().double().T
        for one, other in bones:
            ends = [one, other]
            axes.plot(x[ends], z[ends], -y[ends], color=colour, linewidth=1.5)
    true = target.detach().cpu().double()
    x, y, z = true.mean(0).tolist()
    reach = 1.1 * float((true - true.mean(0)).abs().max())
    axes.set(xlim=(x - reach, x + reach), ylim=(z - reach, z + reach), zlim=(-y - reach, -y + reach))
    axes.set_box_aspect((1, 1, 1), zoom=1.7)
    axes.set_axis_off()


def _check(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape or target.ndim < 2 or target.shape[-1] != 3:
        raise ShapeError(
            f"expected two poses (*, N, 3) of one shape, got prediction {tuple(prediction.shape)}, target {tuple(target.shape)}"
        )


def _counted(prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    _check(prediction, target)
    if target.ndim != 3 or (mask is not None and mask.shape != target.shape):
        got = None if mask is None else tuple(mask.shape)
        raise ShapeError(f"expected batches (B, N, 3) and a mask of that shape, got poses {tuple(target.shape)}, mask {got}")
    return torch.ones_like(target[..., 0], dtype=torch.bool) if mask is None else mask.all(-1)
