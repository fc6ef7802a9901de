"""Equivariant maps by differentiating invariant functions: h(v) is the gradient of f(v, l) in l at l = 0."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gnet.counts import is_count
from gnet.errors import ConfigError, DegenerateInputError, RepresentationError, ShapeError
from gnet.nn.checks import require_finite

Invariant = Callable[[Tensor, Tensor], Tensor]
Equivariant = Callable[[Tensor], Tensor]
STRETCHES = (2.0, 3.0)
"""Factors by which an argument is stretched to find the degree in it."""
NEAR = 1e-6
"""Relative error up to which a degree counts as found."""


def equivariant_from_invariant(f: Invariant, dim_W: int | Sequence[int], *, form: Tensor | None = None) -> Equivariant:
    """The map h(v) = grad_l f(v, l) at l = 0, equivariant V -> W for every invariant f on V x W*, and all maps arise so.

    Parts of f without l or of higher degree in l vanish at l = 0, so nothing has to be sorted out. l moves by psi(g)^-T and is
    paired with W by the plain product l . w; for orthogonal groups it is a vector like any other. Where f pairs it by a form
    instead, w^T J l, give ``form=J`` and the index is raised; without it the result is wrong for Lorentz and symplectic groups.

    Args:
        f: (v, l) -> one number for each item; polynomial or network, differentiable at l = 0.
        dim_W: of the outputs, or their shape, such as (3, 3) for matrices.
        form: J, of the last axis of W.

    Shapes:
        v: (B, ...)    l: (B, *W)    f: (B,) or (B, 1)    returns: h, v -> (B, *W)

    The cost is one backward pass of f; trained functions of h keep two graphs. Under ``torch.vmap``, ``torch.func.jacrev`` and
    the like h is right, and what it would refuse is not looked for. ``torch.compile`` works with breaks in the graph, and not
    with ``fullgraph=True``: PyTorch cannot trace a gradient inside a forward pass.

    f has to be differentiable at l = 0, which a gradient there cannot show in every case. A root of l . l gives one that is not
    finite, and is refused. ``l.norm()``, and lengths of ``scalars(..., norms=True)``, count as constant at zero: PyTorch's
    gradient there is zero, the mean of those on all sides. h is equivariant all the same, and without what they say about l.

    Raises:
        ConfigError: a ``dim_W`` that is not made of whole numbers >= 1.
        ShapeError: a form of another shape; (from h) f does not return one number for each item, or v is not made of floating
            numbers. Where f itself fails, its error says which shape l had.
        RepresentationError: (from h) an f without l, or with ``l.detach()``, whose map would be zero.
        DegenerateInputError: (from h) v, or a gradient, that is not finite, as of the root of l . l at zero.

    References:
        Blum-Smith and Villar (2023), arXiv:2209.14991, theorem 2; Schwarz (1980).

    Example:
        >>> h = equivariant_from_invariant(lambda v, l: (v * v).sum(1) * (v * l).sum(1), 2)
        >>> h(torch.tensor([[3.0, 4.0]]))
        tensor([[ 75., 100.]])
    """
    shape = _shape_of(dim_W)
    if form is not None and form.shape != (shape[-1], shape[-1]):
        raise ShapeError(f"expected a form of shape {(shape[-1], shape[-1])} for the last axis of W, got {tuple(form.shape)}")

    def raised(found: Tensor) -> Tensor:
        return found if form is None else found @ _inverse(form, found)

    def h(v: Tensor) -> Tensor:
        if not (v.is_floating_point() or v.is_complex()):
            raise ShapeError(f"expected v of floating numbers, got {v.dtype}; convert it with v.to(torch.float32)")
        if is_transformed(v):
            return raised(torch.func.grad(lambda l: f(v, l).sum())(torch.zeros(len(v), *shape, dtype=v.dtype, device=v.device)))
        is_trained = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            v = v.clone() if v.is_inference() else v  # as of trainer.predict
            covector = torch.zeros(len(v), *shape, dtype=v.dtype, device=v.device, requires_grad=True)
            try:
                value = f(v, covector)
            except Exception as error:
                error.add_note(f"f was called with v of shape {tuple(v.shape)}, l of shape {tuple(covector.shape)} from dim_W")
                raise
            if value.shape not in ((len(v),), (len(v), 1)):
                raise ShapeError(f"expected one number for each of {len(v)} items from f, got shape {tuple(value.shape)}")
            found = None
            if value.requires_grad:
                (found,) = torch.autograd.grad(value.sum(), covector, create_graph=is_trained, allow_unused=True)
            if found is None:  # zero is right, and never what was meant
                raise RepresentationError(
                    "expected f(v, l) to depend on l, got a value without it; use l in f, without detach() or torch.no_grad()"
                )
        if not bool(found.isfinite().all()):
            require_finite(v, "v")
            item = int((~found.isfinite()).flatten(1).any(1).nonzero()[0])
            raise DegenerateInputError(
                f"expected f to be differentiable at l = 0, got a gradient that is not finite for item {item}; "
                "leave out lengths of l"
            )
        return raised(found)

    return h


def is_transformed(x: Tensor) -> bool:
    """Whether torch.func is at work on a tensor, as under ``torch.vmap``: values cannot be looked at, nor ``requires_grad``.

    Example:
        >>> found = []
        >>> _ = torch.vmap(lambda x: (found.append(is_transformed(x)), x)[1])(torch.zeros(2))
        >>> found, is_transformed(torch.zeros(2))
        ([True], False)
    """
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(x))  # torch has no public name for it


def _shape_of(dim_W: int | Sequence[int]) -> tuple[int, ...]:
    shape = tuple(dim_W) if isinstance(dim_W, Sequence) else (dim_W,)
    if not shape or not all(is_count(each) for each in shape):
        raise ConfigError(f"expected dim_W as a whole number >= 1, or several, got {dim_W!r}")
    return shape


def _inverse(form: Tensor, like: Tensor) -> Tensor:
    """In the dtype and on the device of a tensor; half precision has no inverse of its own."""
    wide = torch.promote_types(like.dtype, torch.float32)
    return torch.linalg.inv(form.to(like.device, wide)).to(like.dtype)


class EquivariantFromInvariant(nn.Module):
    """``equivariant_from_invariant`` of a network, whose weights are trained.

    Args:
        f: called with (v, l).
        dim_W, form: as there.

    Shapes:
        v: (B, ...)    returns: (B, *W)

    Raises:
        ConfigError, ShapeError, RepresentationError, DegenerateInputError: as there.

    References:
        Blum-Smith and Villar (2023), arXiv:2209.14991.

    Example:
        >>> class Energy(torch.nn.Module):
        ...     def forward(self, v, l):
        ...         return torch.tanh(torch.einsum("bnd,bd->b", v, l))
        >>> EquivariantFromInvariant(Energy(), 3)(torch.ones(2, 4, 3)).detach()
        tensor([[4., 4., 4.],
                [4., 4., 4.]])
    """

    def __init__(self, f: nn.Module, dim_W: int | Sequence[int], *, form: Tensor | None = None) -> None:
        super().__init__()
        self.f, self.dim_W = f, dim_W
        equivariant_from_invariant(f, dim_W, form=form)  # checks both
        self.register_buffer("form", form)

    form: Tensor | None

    def forward(self, v: Tensor) -> Tensor:
        """Differentiate."""
        return equivariant_from_invariant(self.f, self.dim_W, form=self.form)(v)


def covariant_generators(
    fs: Sequence[Invariant],
    shape_V: Sequence[int],
    dim_W: int | Sequence[int],
    *,
    form: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[list[Equivariant], list[Equivariant]]:
    """Of bihomogeneous generators of the invariants on V x W*: those without l, and the maps that those linear in l make.

    Every polynomial equivariant map is a sum of the maps times polynomials of the invariants; generators of higher degree in l
    are not needed and dropped. Degrees are found by stretching l, and v, by 2 and 3 at random places.

    Shapes:
        fs: each (v, l) -> (B,), with v (B, *V) and l (B, *W)
        returns: functions v -> (B,), and functions v -> (B, *W)

    Raises:
        RepresentationError: a generator that is not homogeneous in v or in l, or zero.

    References:
        Blum-Smith and Villar (2023), arXiv:2209.14991, section 4.

    Example:
        >>> dot = lambda a, b: (a * b).sum(1)
        >>> fs = [lambda v, l: dot(v, v), lambda v, l: dot(v, l), lambda v, l: dot(l, l)]
        >>> invariants, maps = covariant_generators(fs, (3,), 3)
        >>> len(invariants), [F(torch.tensor([[1.0, 2.0, 3.0]])) for F in maps]
        (1, [tensor([[1., 2., 3.]])])
    """
    shape_W = _shape_of(dim_W)
    degree0: list[Equivariant] = []
    found: list[Equivariant] = []
    for number, f in enumerate(fs):
        v = torch.randn(8, *shape_V, dtype=torch.float64, generator=generator)
        covector = torch.randn(8, *shape_W, dtype=torch.float64, generator=generator)
        _degree(lambda t, f=f, v=v, l=covector: f(t * v, l), f"generator {number} in v")  # type: ignore[misc]
        degree = _degree(lambda t, f=f, v=v, l=covector: f(v, t * l), f"generator {number} in l")  # type: ignore[misc]
        if degree == 0:
            degree0.append(_without_covector(f, shape_W))
        elif degree == 1:
            found.append(equivariant_from_invariant(f, shape_W, form=form))
    return degree0, found


class CovariantSum(nn.Module):
    """sum_j P_j(invariants of v) F_j(v) with an MLP for the P_j: every polynomial equivariant map, from generators.

    Args:
        invariants, maps: of ``covariant_generators``.
        mlp: from the invariants to one number for each map.

    Shapes:
        v: (B, *V)    returns: (B, *W)

    Raises:
        RepresentationError: no invariants, or no maps.
        ShapeError: an mlp with another number of outputs.

    Example:
        >>> fs = [lambda v, l: (v * v).sum(1), lambda v, l: (v * l).sum(1)]
        >>> h = CovariantSum(*covariant_generators(fs, (3,), 3), torch.nn.Linear(1, 1))
        >>> h(torch.randn(7, 3)).shape
        torch.Size([7, 3])
    """

    def __init__(self, invariants: Sequence[Equivariant], maps: Sequence[Equivariant], mlp: nn.Module) -> None:
        super().__init__()
        if not invariants or not maps:
            raise RepresentationError(f"expected invariants and maps to sum, got {len(invariants)} and {len(maps)}")
        self.invariants, self.maps, self.mlp = list(invariants), list(maps), mlp

    def forward(self, v: Tensor) -> Tensor:
        """Sum."""
        coefficients = self.mlp(torch.stack([f(v) for f in self.invariants], 1))
        if coefficients.shape[1:] != (len(self.maps),):
            raise ShapeError(
                f"expected an mlp with {len(self.maps)} outputs, one for each map, got {tuple(coefficients.shape[1:])}"
            )
        maps = torch.stack([F(v) for F in self.maps], 1)
        return torch.einsum("bj,bj...->b...", coefficients, maps)


def _without_covector(f: Invariant, shape_W: Sequence[int]) -> Equivariant:
    return lambda v: f(v, torch.zeros(len(v), *shape_W, dtype=v.dtype, device=v.device))


def _degree(stretched: Callable[[float], Tensor], what: str) -> int:
    """The p with f(t x) = t^p f(x)."""
    with torch.no_grad():
        plain = stretched(1.0)
        if not bool((plain.abs() > 0).any()):
            raise RepresentationError(f"{what}: expected a homogeneous function, got zero at random places")
        ratio = float((stretched(STRETCHES[0]) * plain).sum() / plain.square().sum())
        degree = round(math.log(ratio) / math.log(STRETCHES[0])) if ratio > 0 else -1
        errors = [float((stretched(t) - t**degree * plain).abs().max()) for t in STRETCHES]
    sizes = [t**degree * float(plain.abs().max()) for t in STRETCHES]
    if degree < 0 or any(error > NEAR * size for error, size in zip(errors, sizes, strict=True)):
        raise RepresentationError(f"{what}: expected a homogeneous function, got one that is not; take its homogeneous parts")
    return degree
