"""Layers between types of tensors: linear maps, gates, products of what a signal holds."""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gnet.errors import RepresentationError, ShapeError
from gnet.groups import GeneratedGroup, MatrixGroup
from gnet.nn.checks import check_placement
from gnet.plugins.tensors.hom import HomSpace, axis_order
from gnet.plugins.tensors.reps import Regular, Rep, Simple, T, check_types, is_permutation_type
from gnet.plugins.tensors.solvers import Solver
from gnet.plugins.tensors.stamp import Stamped, stamp_of


class RepLinear(Stamped):
    """Every affine map x -> W x + b between two types that commutes with the group.

    Trained are the coefficients of W and b in orthonormal bases; the published layer stores all of W and projects it at every
    call, which is the same set of functions. At the start W is a random orthogonal matrix, projected, and b is uniform in
    [0, 1) / sqrt(size out), projected.

    Shapes:
        x: (..., size in)    returns: (..., size out)

    Raises:
        RepresentationError: a complex group (take ``Realified(group)``), or types that are too large.
        ShapeError: x of another size, dtype or device than the weights.
        CheckpointError: ``load_state_dict`` of another group, other types or other bases.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 6.

    Example:
        >>> from gnet.plugins.tensors import O, T
        >>> layer = RepLinear(5 * T(0) + 5 * T(1), T(2), O(3))
        >>> layer, layer(torch.randn(7, 20)).shape
        (RepLinear(5 T(0) + 5 T(1) -> T(2) | O(3) | 5 weights), torch.Size([7, 9]))
    """

    bias: nn.Parameter | None

    _shared: tuple[Tensor, Tensor | None] | None = None
    """W and b within ``shared_maps``; copies and pickles are without."""

    def __init__(
        self,
        rep_in: Rep,
        rep_out: Rep,
        group: MatrixGroup,
        *,
        bias: bool = True,
        solver: Solver = "auto",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        group = check_types(group, rep_in, rep_out)
        _check_real(group)
        self.rep_in, self.rep_out, self.group = rep_in, rep_out, group
        self.maps, self.constants = HomSpace(rep_in, rep_out, group, solver), HomSpace(T(0), rep_out, group, solver)
        self.weight = nn.Parameter(torch.empty(self.maps.dim))
        self.register_parameter("bias", nn.Parameter(torch.empty(self.constants.dim)) if bias else None)
        self.reset_parameters(generator)

    @property
    def action_in(self) -> Rep:
        """How the group acts on inputs."""
        return self.rep_in

    @property
    def action_out(self) -> Rep:
        """How the group acts on outputs."""
        return self.rep_out

    @property
    def in_shape(self) -> tuple[int]:
        """Of one input."""
        return (self.maps.shape[1],)

    @property
    def num_weights(self) -> int:
        """dim Hom: trained numbers of W."""
        return self.maps.dim

    @property
    def num_parameters(self) -> int:
        """Trained numbers, the bias included."""
        return sum(p.numel() for p in self.parameters())

    def make_stamp(self) -> dict[str, Any]:
        """Group, types and bases."""
        bases = [basis for space in (self.maps, self.constants) for _, _, basis in space.pairs()]
        return stamp_of(self.group, self.rep_in, self.rep_out, bases=bases)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw W and b again."""
        rows, columns = self.maps.shape
        drawn = torch.randn(max(rows, columns), min(rows, columns), dtype=torch.float64, generator=generator)
        q, r = torch.linalg.qr(drawn)
        q = q * torch.diagonal(r).sign()
        with torch.no_grad():
            self.weight.copy_(self.maps.coefficients(q if rows >= columns else q.mT))
            if self.bias is not None:
                uniform = torch.rand(rows, 1, dtype=torch.float64, generator=generator) / math.sqrt(rows)
                self.bias.copy_(self.constants.coefficients(uniform))

    def dense(self) -> Tensor:
        """W, (size out, size in)."""
        return self.maps.matrix(self.weight)

    def dense_bias(self) -> Tensor | None:
        """b, (size out,), or None."""
        return None if self.bias is None else self.constants.matrix(self.bias)[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        if x.shape[-1:] != self.in_shape:
            raise ShapeError(f"expected x of shape (..., {self.in_shape[0]}) for {self.rep_in.name}, got {tuple(x.shape)}")
        check_placement(x, self.weight)
        weight, bias = self._shared or (self.dense(), self.dense_bias())
        return nn.functional.linear(x, weight, bias)

    def shares(self, is_trained: bool) -> bool:
        """Whether ``shared_maps`` has made W and b already, with gradients where they are wanted."""
        if self._shared is None or not is_trained:
            return self._shared is not None
        with_gradient = any(each is not None and each.requires_grad for each in self._shared)
        return with_gradient or not any(each.requires_grad for each in self.parameters())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_shared"}

    def __repr__(self) -> str:
        plural = "" if self.num_weights == 1 else "s"
        types = f"{self.rep_in.name} -> {self.rep_out.name}"
        return f"RepLinear({types} | {self.group.name} | {self.num_weights} weight{plural})"


@contextmanager
def shared_maps(net: Callable[..., object]) -> Iterator[None]:
    """Within it each ``RepLinear`` of a net makes W and b once, and not at every call: for nets that a solver calls many times.

    Gradients of all calls meet in that W, so that one ``backward`` serves them all and a second needs ``retain_graph=True``.
    Weights that change within, in value, dtype or place, are not seen until the end. Copies and pickles of the net have their
    own weights. One thread at a time may use the net. Other functions than modules have no such layers.

    Example:
        >>> from gnet.plugins.tensors import O, T
        >>> layer, x = RepLinear(2 * T(1), T(0) + T(1), O(3)), torch.randn(5, 6)
        >>> with shared_maps(layer):
        ...     first, second = layer(x), layer(2 * x)
        >>> torch.equal(first, layer(x))
        True
    """
    parts = net.modules() if isinstance(net, nn.Module) else ()
    is_trained = torch.is_grad_enabled()
    layers = [each for each in parts if isinstance(each, RepLinear) and not each.shares(is_trained)]
    before = [each._shared for each in layers]
    try:
        # Not as tensors of inference mode, in which a gradient with respect to x could not be taken.
        with torch.inference_mode(False), torch.set_grad_enabled(is_trained):
            for layer in layers:
                layer._shared = layer.dense(), layer.dense_bias()
        yield
    finally:
        for layer, kept in zip(layers, before, strict=True):
            layer._shared = kept


def gated(rep: Rep, group: MatrixGroup) -> Rep:
    """The type with one more scalar for each copy of a type that is neither scalar nor permuted: its gate.

    Example:
        >>> from gnet.plugins.tensors import O, S
        >>> gated(2 * T(0) + 3 * T(1), O(3)), gated(3 * T(1), S(4))
        (Rep(5 T(0) + 3 T(1)), Rep(3 T(1)))
    """
    group = check_types(group, rep)
    gates = sum(n for n, part in rep.parts if not is_permutation_type(part, group))
    return rep + gates * T(0)


class GatedNonlinearity(nn.Module):
    """Multiplies every tensor by the sigmoid of its gate; scalars and permuted entries gate themselves, x sigmoid(x).

    Shapes:
        x: (..., size of gated(rep))    returns: (..., size of rep)

    Raises:
        ShapeError: x of another size.

    References:
        Weiler et al. (2018), arXiv:1807.02547, for gates; Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 6.

    Example:
        >>> from gnet.plugins.tensors import O, T
        >>> GatedNonlinearity(T(1), O(3))(torch.tensor([1.0, 2.0, 3.0, 0.0]))
        tensor([0.5000, 1.0000, 1.5000])
    """

    def __init__(self, rep: Rep, group: MatrixGroup) -> None:
        super().__init__()
        group = check_types(group, rep)
        self.rep, self.group = rep, group
        self.action_in, self.action_out = gated(rep, group), rep
        d = group.dim
        self.in_shape = (self.action_in.size(d),)
        # Equal types lie together, so that gates come right after the scalars of the type, if it has any.
        scalars = [place.start for part, place in self.action_in.slices(d) if _is_scalar(part)]
        own = sum(n for n, part in rep.parts if _is_scalar(part))
        gates, sources = scalars[own:], list[int]()
        places: dict[Simple, list[slice]] = {}
        taken: dict[Simple, int] = {}
        for part, place in self.action_in.slices(d):
            places.setdefault(part, []).append(place)
        order, spread = list[int](), list[int]()  # where each entry is, and which of the gates it has
        for part, _ in rep.slices(d):
            copy = taken.get(part, 0)
            taken[part] = copy + 1
            there = range(places[part][copy].start, places[part][copy].stop)
            order += there
            is_own = is_permutation_type(part, group)
            spread += [len(sources) + (index if is_own else 0) for index in range(len(there))]
            sources += there if is_own else [gates.pop(0)]
        for name, found in (("order", order), ("sources", sources), ("spread", spread)):
            self.register_buffer(name, torch.tensor(found, dtype=torch.long), persistent=False)

    order: Tensor
    sources: Tensor
    spread: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Apply the gates."""
        if x.shape[-1:] != self.in_shape:
            raise ShapeError(f"expected x of shape (..., {self.in_shape[0]}), got {tuple(x.shape)}")
        factors = torch.sigmoid(x.index_select(-1, self.sources)).index_select(-1, self.spread)
        return x.index_select(-1, self.order) * factors


class Bilinear(Stamped):
    """x -> 0.1 W(x) x, where W(x) is equivariant and linear in x: tensors of x that have the type of a map are that map.

    For each type that occurs m times among the maps and n times in x, some k = min(n, its size) copies are chosen at random when
    the layer is made, and m k weights mix them; which, is in ``state_dict``. Products of the chosen copies with x come first,
    weights after: no map is made for each item.

    Shapes:
        x: (..., size)    returns: (..., size)

    Raises:
        ShapeError: x of another size, dtype or device than the weights.
        CheckpointError: ``load_state_dict`` of another group or type.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 6 and the published code.

    Example:
        >>> from gnet.plugins.tensors import O, T
        >>> layer = Bilinear(2 * T(0) + T(1), O(3), generator=torch.Generator().manual_seed(0))
        >>> layer.num_parameters, layer(torch.ones(5)).shape
        (4, torch.Size([5]))
    """

    def __init__(self, rep: Rep, group: MatrixGroup, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        group = check_types(group, rep)
        _check_real(group)
        self.rep, self.group = rep, group
        self.action_in = self.action_out = rep
        d = group.dim
        self.in_shape = (rep.size(d),)
        self._starts = _starts(rep, d)
        # Chosen copies of each type that could be a map: part of the state, for a net with others is another net.
        self._places: dict[Simple, int] = {}
        for place, (n, part) in enumerate(rep.parts):
            if part.rank and not isinstance(part, Regular):
                self._places[part] = place
                chosen = torch.randperm(n, generator=generator)[: min(n, part.size(d))].sort().values
                self.register_buffer(f"chosen{place}", chosen)
        self._pairs: list[tuple[int, int, Simple, list[int]]] = []
        weights = []
        for out, (n, to) in enumerate(rep.parts):
            for given, (m, of) in enumerate(rep.parts):
                kind, places = self._type(to, of)
                if kind in self._places:
                    self._pairs.append((out, given, kind, places))
                    count = len(self._chosen(self._places[kind]))
                    weights.append(nn.Parameter(torch.randn(n, m, count, generator=generator)))
        self.weights = nn.ParameterList(weights)

    def make_stamp(self) -> dict[str, Any]:
        """Group and type; there are no bases."""
        return stamp_of(self.group, self.rep)

    def _type(self, out: Simple, given: Simple) -> tuple[Simple | None, list[int]]:
        """The type of maps between two types, as it is called in x, and its axes."""
        if isinstance(out, Regular) or isinstance(given, Regular):
            return None, []
        (p, q), places = axis_order(out, given)
        kind = Simple(p, q).canonical(self.group)
        if kind != Simple(p, q):  # all axes are alike: in the order of the map
            places = list(range(p + q))
        return next((part for part in self._places if part.canonical(self.group) == kind), None), places

    def _chosen(self, place: int) -> Tensor:
        """Which copies of a type are maps, (k,)."""
        return self.get_buffer(f"chosen{place}")

    @property
    def num_parameters(self) -> int:
        """Weights of all pairs."""
        return sum(p.numel() for p in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the products."""
        if x.shape[-1:] != self.in_shape:
            raise ShapeError(f"expected x of shape (..., {self.in_shape[0]}), got {tuple(x.shape)}")
        if len(self.weights):
            check_placement(x, self.weights[0])
        d, batch = self.group.dim, x.shape[:-1]
        copies, rows = [], x.reshape(math.prod(batch), x.shape[-1])
        for (n, part), start in zip(self.rep.parts, self._starts, strict=True):
            size = part.size(d)
            copies.append(rows[:, start : start + n * size].unflatten(1, (n, size)).mT)  # (B, size, copies)
        found: list[list[Tensor]] = [[] for _ in copies]
        for weight, (out, given, kind, places) in zip(self.weights, self._pairs, strict=True):
            place = self._places[kind]
            maps = copies[place].index_select(2, self._chosen(place)).unflatten(1, [d] * kind.rank)
            found[out].append(self._product(weight, maps.permute(0, *[1 + each for each in places], -1), copies[given]))
        sums = [functools.reduce(torch.add, some) if some else torch.zeros_like(c) for some, c in zip(found, copies, strict=True)]
        return 0.1 * torch.cat([each.mT.flatten(1) for each in sums], -1).reshape(x.shape)

    @staticmethod
    def _product(weight: Tensor, maps: Tensor, signals: Tensor) -> Tensor:
        """sum_mk w_nmk M_k x_m, in the order that takes fewer products: maps times signals first, or weights times signals.

        Shapes:
            weight: (n, m, k)    maps: (B, axes out, axes in, k)    signals: (B, size in, m)    returns: (B, size out, n)
        """
        (n, m, k), (num, size_in) = weight.shape, signals.shape[:2]
        size_out = math.prod(maps.shape[1:-1]) // size_in
        if m * (size_in + n) * size_out < n * (m + size_out) * size_in:
            rows = maps.reshape(num, size_out, size_in, k).transpose(2, 3).reshape(num, size_out * k, size_in)
            products = torch.bmm(rows, signals).reshape(num, size_out, k * m)
            return products @ weight.permute(2, 1, 0).reshape(k * m, n)
        mixed = (signals @ weight.permute(1, 2, 0).reshape(m, k * n)).reshape(num, size_in * k, n)
        return torch.bmm(maps.reshape(num, size_out, size_in * k), mixed)


def _starts(rep: Rep, d: int) -> list[int]:
    starts, at = [], 0
    for n, part in rep.parts:
        starts.append(at)
        at += n * part.size(d)
    return starts


def _is_scalar(part: Simple) -> bool:
    return part.rank == 0 and not isinstance(part, Regular)


def _check_real(group: GeneratedGroup) -> None:
    if group.dtype.is_complex:
        raise RepresentationError(f"layers have real weights, and {group.name} is complex; take Realified({group.name})")
