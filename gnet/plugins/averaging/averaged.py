"""Any module made symmetric by averaging: over all elements, by quadrature, over random ones, or over a frame."""

from collections.abc import Callable
from functools import partial
from typing import Literal, Self

import torch
from torch import Tensor, nn

from gnet.counts import is_count
from gnet.errors import ConfigError, NotFiniteError, RepresentationError, ShapeError
from gnet.groups import TRIVIAL_ACTION, Action, Group, MatrixGroup, NodeGroup
from gnet.groups.base import is_orthogonal_matrix
from gnet.groups.laws import require_uniform
from gnet.groups.reynolds import reynolds
from gnet.measures.equivariance import check_is_group
from gnet.nn.checks import check_placement, no_tensor
from gnet.nn.relaxed.moving import move_items
from gnet.plugins.averaging import frames

LARGEST = 1_000_000
"""Most elements that "exact" goes through."""
DRAWN = 32
"""Elements that "sample" draws unless told otherwise."""

Mode = Literal["exact", "quadrature", "sample", "frame"]
Frame = Callable[[Tensor], Tensor]


class Averaged(nn.Module):
    """The function x -> average over g of psi(g)^-1 f(phi(g) x), symmetric whatever f is.

    - "exact": all elements of a finite group; exactly equivariant.
    - "quadrature": nodes and weights that integrate polynomials of ``degree`` in the entries of g; exact for polynomial f, and
      for SO(2), O(2), SO(3), O(3) and groups made of these.
    - "sample": ``n_samples`` uniform elements. ``last_stderr`` is the standard error of each entry of the last output.
    - "frame": a few elements that move with x; exactly equivariant, at inputs where the frame is defined, and not continuous.

    Args:
        module: f, called with a batch (rows, ...); any callable.
        rep_in: the action phi on inputs; None is the group's own.
        rep_out: the action psi on outputs; None is for invariant outputs, one number per item.
        mode: see above.
        n_samples: of "sample"; 32 by default.
        degree: of "quadrature".
        frame: of "frame": x -> (B, F, ...) elements; None takes PCA for O(d) and SO(d), and with the mean for E(d) and SE(d) on
            points (``rep_in=gnet.plugins.scalars.POINTS``). The group need not be compact: nothing is drawn.
        chunk: most rows in one call of f.
        resample: of "sample": new elements at every call ("step"), or the same ones always ("fixed"), which makes a function.
        generator: of random elements.

    Whole numbers that f returns, and those that a group of other matrices than permutations moves, count in PyTorch's default
    dtype. Elements and weights stay in float64 whatever the dtype of the module, and are cast where they are used.

    Shapes:
        x: (B, ...)    returns: what f returns, (B, ...)

    Raises:
        GroupError: no group; names, as the functions of ``gnet.plugins.scalars`` take, are none.
        ShapeError: (when called) no tensor, or one of another dtype or device than the weights of a module that refuses it.
        ConfigError: an unknown word, a setting of another mode, or numbers that are not whole, or below one.
        NotCompactError: no uniform law exists.
        NotFiniteError: "exact" of an infinite group or of one with more than 10^6 elements; no quadrature is known.
        RepresentationError: actions that are none; no ``rep_out``, and outputs that are not one number per item; no frame, and
            none known.

    References:
        Yarotsky (2018), arXiv:1804.10306, section 2.1, for averages; Puny et al. (2022), arXiv:2110.03336, for frames.

    Example:
        >>> from gnet.plugins.tensors import Z
        >>> f = Averaged(lambda x: x[:, 0] * x[:, 1] ** 2, Z(3), mode="exact")
        >>> f(torch.tensor([[1.0, 2.0, 3.0]]))  # 25 / 3
        tensor([8.3333])
    """

    last_stderr: Tensor | None
    elements: Tensor | None
    weights: Tensor | None

    def __init__(
        self,
        module: Callable[[Tensor], Tensor],
        group: Group,
        rep_in: Action | None = None,
        rep_out: Action | None = None,
        mode: Mode = "exact",
        n_samples: int | None = None,
        degree: int | None = None,
        chunk: int = 4096,
        resample: Literal["step", "fixed"] = "step",
        *,
        frame: Frame | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_symmetry(group, rep_in, rep_out)
        _check(mode, n_samples, degree, chunk, resample, frame)
        self.module, self.group, self.rep_in, self.rep_out = module, group, rep_in, rep_out
        self.mode, self.chunk, self.resample, self.generator = mode, chunk, resample, generator
        self.n_samples, self.degree, self.last_stderr = n_samples or DRAWN, degree, None
        self.frame = frame
        if mode == "frame":
            self.frame = frame or _usual_frame(group)
            return
        require_uniform(group, f"mode={mode!r}", is_drawn=mode == "sample")
        elements, weights = self._rule()
        self.register_buffer("elements", elements)
        self.register_buffer("weights", weights)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move and cast the module, and move elements and weights: what a cast takes from them no other brings back."""
        before = {name: self._buffers.get(name) for name in ("elements", "weights")}
        super()._apply(fn, recurse)
        for name, kept in before.items():
            moved = self._buffers.get(name)
            if kept is not None and moved is not None and moved.dtype != kept.dtype:
                self._buffers[name] = kept.to(moved.device)
        return self

    @property
    def action_in(self) -> Action:
        """How the group acts on inputs."""
        return self.rep_in or self.group.action

    @property
    def action_out(self) -> Action:
        """How the group acts on outputs."""
        return self.rep_out or TRIVIAL_ACTION

    def _rule(self) -> tuple[Tensor | None, Tensor | None]:
        """Elements and weights; None where they are drawn at every call."""
        if self.mode == "quadrature":
            if not isinstance(self.group, MatrixGroup):
                raise NotFiniteError(f"no quadrature is known for {self.group.name}; take mode='exact' or 'sample'")
            return self.group.quadrature(self.degree or 0)
        if self.mode == "exact":
            if not self.group.order() <= LARGEST:
                raise NotFiniteError(
                    f"mode='exact' goes through at most {LARGEST} elements, {self.group.name} has {self.group.order_text()}; "
                    "take mode='quadrature', 'sample' or 'frame'"
                )
            elements = self.group.elements(limit=LARGEST)
        elif self.resample == "step":
            return None, None
        else:
            elements = self.group.sample(self.n_samples, self.generator)
        return elements, torch.full((len(elements),), 1 / len(elements), dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """Average."""
        if not isinstance(x, Tensor):
            raise ShapeError(f"expected x of shape (B, ...), got {no_tensor(x)}")
        x = self._given(x)
        if self.mode == "frame":
            return self._over_frame(x)
        elements, weights = self.elements, self.weights
        if elements is None or weights is None:
            elements = self.group.sample(self.n_samples, self.generator)
            weights = torch.full((len(elements),), 1 / len(elements), dtype=torch.float64)
        is_drawn = self.mode == "sample"
        moved = _Sums(is_drawn)
        step = max(1, self.chunk // max(len(x), 1))
        for some, share in zip(elements.split(step), weights.split(step), strict=True):
            moved.add(self._back(some, self._rows(self._moved(some, x))), share)
        self.last_stderr = moved.standard_error() if is_drawn and len(elements) > 1 else None
        return moved.result

    def _given(self, x: Tensor) -> Tensor:
        """Whole numbers can be permuted; under any other matrix they would be cut off."""
        is_whole = not (x.is_floating_point() or x.is_complex())
        return _numbers(x) if is_whole and not self.group.is_permutation else x

    def _moved(self, elements: Tensor, x: Tensor) -> Tensor:
        """phi(g) x of all elements and items, (K, B, ...)."""
        return _acted(self.rep_in or self.group.action, elements, x, self.group, each=False)

    def _rows(self, moved: Tensor) -> Tensor:
        """f of (K, B, ...), in calls of at most ``chunk`` rows."""
        flat = moved.flatten(0, 1)
        y = torch.cat([_called(self.module, part) for part in flat.split(self.chunk)])
        self._check_output(y)
        return y.reshape(*moved.shape[:2], *y.shape[1:])

    def _back(self, elements: Tensor, y: Tensor) -> Tensor:
        if self.rep_out is None or self.rep_out is TRIVIAL_ACTION:
            return y
        inverses = torch.stack([self.group.inverse(g) for g in elements])
        return _acted(self.rep_out, inverses, y, self.group, each=True)

    def _over_frame(self, x: Tensor) -> Tensor:
        if self.frame is None:
            raise RepresentationError("expected a frame for mode='frame', got none")
        if not len(x):  # no element to move it
            y = _called(self.module, x)
            self._check_output(y)
            return y
        elements = self.frame(x)  # (B, F, ...)
        size, flat = elements.shape[1], elements.flatten(0, 1)
        # Elements are given and not drawn, so that the group need not be compact.
        moved = move_items(self.group, flat, x.repeat_interleave(size, 0), self.rep_in, back=True)
        y = torch.cat([_called(self.module, part) for part in moved.split(self.chunk)])
        self._check_output(y)
        if self.rep_out is not None:
            y = move_items(self.group, flat, y, None if self.rep_out == self.group.action else self.rep_out)
        return y.reshape(len(x), size, *y.shape[1:]).mean(1)

    def _check_output(self, y: Tensor) -> None:
        if self.rep_out is None and (y.ndim > 2 or (y.ndim == 2 and y.shape[1] != 1)):
            raise RepresentationError(
                f"expected rep_out for outputs of shape {tuple(y.shape)}: None means one number per item; give an action, "
                "gnet.groups.TRIVIAL_ACTION for invariant outputs"
            )

    def extra_repr(self) -> str:
        """Group and mode."""
        return f"{self.group.name}, mode={self.mode!r}"


def _called(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    y = module(x) if torch.compiler.is_compiling() else _answer(module, x)
    if not isinstance(y, Tensor) or y.ndim < 1 or len(y) != len(x):
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ShapeError(f"expected one output for each of {len(x)} items (B, ...), got {got}; add an axis with x[None]")
    return _numbers(y)


def _answer(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a module returns; where it fails on another dtype or device than its weights have, that is what the error says."""
    try:
        return module(x)
    except RuntimeError as error:
        weight = next(module.parameters(), None) if isinstance(module, nn.Module) else None
        if weight is not None and weight.is_floating_point() and x.is_floating_point():
            try:
                check_placement(x, weight)
            except ShapeError as reason:
                raise reason from error
        raise


def _numbers(x: Tensor) -> Tensor:
    """Whole numbers and truth values in the default dtype: an average of them is neither."""
    return x if x.is_floating_point() or x.is_complex() else x.to(torch.get_default_dtype())


class _Sums:
    """The weighted mean of stacks (K, B, ...) that come one after the other; of drawn elements, of equal weight, the spread, too.

    References:
        Chan, Golub and LeVeque (1983), doi:10.1080/00031305.1983.10483115, for the spread of parts.
    """

    def __init__(self, is_drawn: bool) -> None:
        self.is_drawn, self.count = is_drawn, 0
        self.mean, self.middle, self.spread = torch.zeros(()), torch.zeros(()), torch.zeros(())
        self.dtype = torch.get_default_dtype()

    def add(self, values: Tensor, weights: Tensor) -> None:
        """One more stack."""
        self.dtype = values.dtype
        wide = torch.promote_types(values.dtype, torch.float32)  # of half precision shares do not add up to one
        shares = weights.to(values.device, wide).reshape(-1, *[1] * (values.ndim - 1))
        self.mean = self.mean + (shares * values).sum(0)
        if not self.is_drawn:
            return
        exact = values.detach().to(torch.complex128 if values.is_complex() else torch.float64)
        middle, count = exact.mean(0), self.count + len(values)
        away = middle - self.middle
        self.spread = self.spread + (exact - middle).abs().square().sum(0)
        self.spread = self.spread + away.abs().square() * (self.count * len(values) / count)
        self.middle, self.count = self.middle + away * (len(values) / count), count

    @property
    def result(self) -> Tensor:
        """The mean, as the values came."""
        return self.mean.to(self.dtype)

    def standard_error(self) -> Tensor:
        """sd / root of the number of elements, entry by entry."""
        found = (self.spread / (self.count * (self.count - 1))).sqrt()
        return found.to(self.dtype.to_real())


def _acted(action: Action, elements: Tensor, x: Tensor, group: Group, each: bool) -> Tensor:
    """Element k on x, or on x[k] with ``each``, stacked: (K, ...)."""
    # Permutations are checked, and elements of a regular type looked up: neither can be batched.
    if isinstance(group, NodeGroup) or getattr(action, "group", None) is not None:
        return torch.stack([action(g, x[index] if each else x) for index, g in enumerate(elements)])
    if x.is_complex() or (x.is_floating_point() and not elements.is_complex()):
        elements = elements.to(x.device, x.dtype)
    return torch.vmap(action.act, in_dims=(0, 0 if each else None))(elements, x)


def _usual_frame(group: Group) -> Frame:
    """PCA of O(d) and SO(d), or with the mean of the cloud of E(d) and SE(d)."""
    special = all(float(torch.linalg.det(g)) > 0 for g in group.generators) if isinstance(group, MatrixGroup) else False
    if isinstance(group, MatrixGroup) and group.dim > 1:
        d = group.dim
        if group.is_orthogonal and group.lie_dim == d * (d - 1) // 2:
            return partial(frames.pca, special=special)
        if _is_euclidean(group):
            return partial(frames.euclidean, special=special)
    raise RepresentationError(
        f"no frame is known for {group.name}; give one, such as frame=frames.gram_schmidt of a group of d x d matrices, "
        "frames.euclidean of one with translations, or lambda x: frames.sort(x, key)"
    )


def _is_euclidean(group: MatrixGroup) -> bool:
    """Whether elements are [[R, t], [0, 1]] with all rotations R and all translations t."""
    d, last = group.dim - 1, torch.eye(group.dim, dtype=torch.float64)[-1]
    if group.identity.is_complex() or group.lie_dim != d * (d - 1) // 2 + d:
        return False
    algebra = torch.stack([A.double() for A in group.lie_algebra])
    turning = algebra[:, :d, :d]
    is_rigid = bool((turning + turning.mT).abs().max() < 1e-9) and not bool(algebra[:, d].any())
    return is_rigid and all(is_orthogonal_matrix(g[:d, :d]) and torch.allclose(g[d].double(), last) for g in group.generators)


def _check_symmetry(group: Group, rep_in: Action | None, rep_out: Action | None) -> None:
    check_is_group(group)
    for name, action in (("rep_in", rep_in), ("rep_out", rep_out)):
        if action is not None and not isinstance(action, Action):
            raise RepresentationError(
                f"expected {name} as an action, such as group.action, a type T(1) of gnet.plugins.tensors, or "
                f"gnet.groups.TRIVIAL_ACTION, got {action!r}"
            )


def _check(mode: str, n_samples: int | None, degree: int | None, chunk: int, resample: str, frame: Frame | None) -> None:
    if mode not in ("exact", "quadrature", "sample", "frame"):
        raise ConfigError(f"expected mode 'exact', 'quadrature', 'sample' or 'frame', got {mode!r}")
    if resample not in ("step", "fixed"):
        raise ConfigError(f"expected resample 'step' or 'fixed', got {resample!r}")
    for name, value, owner in (("n_samples", n_samples, "sample"), ("degree", degree, "quadrature"), ("frame", frame, "frame")):
        if value is not None and mode != owner:
            raise ConfigError(f"{name} belongs to mode={owner!r}, got mode={mode!r}; leave it out")
    if mode == "quadrature" and degree is None:
        raise ConfigError("expected a degree for mode='quadrature', got none; polynomials up to it are integrated exactly")
    for name, value in (("chunk", chunk), ("n_samples", n_samples)):
        if value is not None and not is_count(value):
            raise ConfigError(f"expected a whole {name} >= 1, got {value!r}")


def project_linear(theta: Tensor, group: Group, rep_in: Action | None = None, rep_out: Action | None = None) -> Tensor:
    """The exact average of psi(g)^-1 theta phi(g): for finite and for continuous compact groups.

    Args:
        rep_in, rep_out: actions on inputs and outputs; None is the group's own.

    Shapes:
        theta: (n', n)    returns: (n', n)

    Raises:
        GroupError: no group.
        RepresentationError: actions that are none.
        NotCompactError: no uniform law exists.
        ShapeError: theta is no matrix of the sizes that the actions have.

    References:
        Elesedy and Zaidi (2021), arXiv:2102.10333, equation 2.

    Example:
        >>> from gnet.plugins.tensors import O
        >>> project_linear(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), O(2))
        tensor([[2.5000, 0.0000],
                [0.0000, 2.5000]])
    """
    _check_symmetry(group, rep_in, rep_out)
    require_uniform(group, "the average over a group")
    return reynolds(theta, group, rep_in, rep_out)
