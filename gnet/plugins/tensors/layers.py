"""Layers between types of tensors, and networks of them: linear maps, gates, products, equivariant multilayer perceptrons."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError, RepresentationError, ShapeError
from gnet.groups import GeneratedGroup
from gnet.plugins.tensors.hom import HomSpace, axis_order
from gnet.plugins.tensors.reps import Regular, Rep, Simple, T, is_permutation_type
from gnet.plugins.tensors.solvers import Solver


class RepLinear(nn.Module):
    """Every affine map x -> W x + b between two types that commutes with the group.

    Trained are the coefficients of W and b in orthonormal bases; the published layer stores all of W and projects it at every
    call, which is the same set of functions. At the start W is a random orthogonal matrix, projected, and b is uniform in
    [0, 1) / sqrt(size out), projected.

    Shapes:
        x: (..., size in)    returns: (..., size out)

    Raises:
        RepresentationError: a complex group (take ``Realified(group)``), or types that are too large.
        ShapeError: x of another size.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 6.

    Example:
        >>> from gnet.plugins.tensors import O, T
        >>> layer = RepLinear(5 * T(0) + 5 * T(1), T(2), O(3))
        >>> layer, layer(torch.randn(7, 20)).shape
        (RepLinear(5 T(0) + 5 T(1) -> T(2) | O(3) | 5 weights), torch.Size([7, 9]))
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        rep_in: Rep,
        rep_out: Rep,
        group: GeneratedGroup,
        *,
        bias: bool = True,
        solver: Solver = "auto",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
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
        return nn.functional.linear(x, self.dense(), self.dense_bias())

    def __repr__(self) -> str:
        plural = "" if self.num_weights == 1 else "s"
        types = f"{self.rep_in.name} -> {self.rep_out.name}"
        return f"RepLinear({types} | {self.group.name} | {self.num_weights} weight{plural})"


def gated(rep: Rep, group: GeneratedGroup) -> Rep:
    """The type with one more scalar for each copy of a type that is neither scalar nor permuted: its gate.

    Example:
        >>> from gnet.plugins.tensors import O, S
        >>> gated(2 * T(0) + 3 * T(1), O(3)), gated(3 * T(1), S(4))
        (Rep(5 T(0) + 3 T(1)), Rep(3 T(1)))
    """
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

    def __init__(self, rep: Rep, group: GeneratedGroup) -> None:
        super().__init__()
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
        order: list[int] = []
        for part, place in rep.slices(d):
            copy = taken.get(part, 0)
            taken[part] = copy + 1
            there = places[part][copy]
            order += range(there.start, there.stop)
            is_own = is_permutation_type(part, group)
            sources += list(range(there.start, there.stop)) if is_own else [gates.pop(0)] * (place.stop - place.start)
        self.register_buffer("order", torch.tensor(order, dtype=torch.long), persistent=False)
        self.register_buffer("sources", torch.tensor(sources, dtype=torch.long), persistent=False)

    order: Tensor
    sources: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Apply the gates."""
        if x.shape[-1:] != self.in_shape:
            raise ShapeError(f"expected x of shape (..., {self.in_shape[0]}), got {tuple(x.shape)}")
        return x[..., self.order] * torch.sigmoid(x[..., self.sources])


class Bilinear(nn.Module):
    """x -> 0.1 W(x) x, where W(x) is equivariant and linear in x: tensors of x that have the type of a map are that map.

    For each type that occurs m times among the maps and n times in x, some k = min(n, its size) copies are chosen at random when
    the layer is made, and m k weights mix them. Products of the chosen copies with x come first, weights after: no map is made
    for each item.

    Shapes:
        x: (..., size)    returns: (..., size)

    Raises:
        ShapeError: x of another size.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, section 6 and the published code.

    Example:
        >>> from gnet.plugins.tensors import O, T
        >>> layer = Bilinear(2 * T(0) + T(1), O(3), generator=torch.Generator().manual_seed(0))
        >>> layer.num_parameters, layer(torch.ones(5)).shape
        (4, torch.Size([5]))
    """

    def __init__(self, rep: Rep, group: GeneratedGroup, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        _check_real(group)
        self.rep, self.group = rep, group
        self.action_in = self.action_out = rep
        d = group.dim
        self.in_shape = (rep.size(d),)
        self._starts = _starts(rep, d)
        # Chosen copies of each type that could be a map.
        self._chosen = {}
        for place, (n, part) in enumerate(rep.parts):
            if part.rank and not isinstance(part, Regular):
                count = min(n, part.size(d))
                self._chosen[part] = (place, torch.randperm(n, generator=generator)[:count].sort().values)
        self._pairs: list[tuple[int, int, Simple, list[int]]] = []
        weights = []
        for out, (n, to) in enumerate(rep.parts):
            for given, (m, of) in enumerate(rep.parts):
                kind, places = self._type(to, of)
                if kind in self._chosen:
                    self._pairs.append((out, given, kind, places))
                    weights.append(nn.Parameter(torch.randn(n, m, len(self._chosen[kind][1]), generator=generator)))
        self.weights = nn.ParameterList(weights)

    def _type(self, out: Simple, given: Simple) -> tuple[Simple | None, list[int]]:
        """The type of maps between two types, as it is called in x, and its axes."""
        if isinstance(out, Regular) or isinstance(given, Regular):
            return None, []
        (p, q), places = axis_order(out, given)
        kind = Simple(p, q).canonical(self.group)
        if kind != Simple(p, q):  # all axes are alike: in the order of the map
            places = list(range(p + q))
        return next((part for part in self._chosen if part.canonical(self.group) == kind), None), places

    @property
    def num_parameters(self) -> int:
        """Weights of all pairs."""
        return sum(p.numel() for p in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Apply the products."""
        if x.shape[-1:] != self.in_shape:
            raise ShapeError(f"expected x of shape (..., {self.in_shape[0]}), got {tuple(x.shape)}")
        d, batch = self.group.dim, x.shape[:-1]
        copies = []
        for (n, part), start in zip(self.rep.parts, self._starts, strict=True):
            copies.append(x[..., start : start + n * part.size(d)].reshape(-1, n, part.size(d)))
        found = [torch.zeros_like(each) for each in copies]
        for weight, (out, given, kind, places) in zip(self.weights, self._pairs, strict=True):
            place, chosen = self._chosen[kind]
            maps = copies[place][:, chosen.to(x.device)]
            cubes = maps.reshape(*maps.shape[:2], *[d] * kind.rank).permute(0, 1, *[2 + each for each in places])
            sizes = self.rep.parts[out][1].size(d), self.rep.parts[given][1].size(d)
            products = torch.einsum("bkij,bmj->bkmi", cubes.reshape(*maps.shape[:2], *sizes), copies[given])
            found[out] = found[out] + torch.einsum("nmk,bkmi->bni", weight, products)
        return 0.1 * torch.cat([each.flatten(1) for each in found], -1).reshape(*batch, -1)


class EMLPBlock(nn.Module):
    """x -> gate(L x + Bilinear(L x)) with L: rep_in -> gated(rep_out).

    Shapes:
        x: (..., size in)    returns: (..., size out)

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459, figure 3.

    Example:
        >>> from gnet.plugins.tensors import O, T
        >>> EMLPBlock(4 * T(1), uniform_rep(128, O(3)), O(3))(torch.randn(2, 12)).shape
        torch.Size([2, 128])
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, group: GeneratedGroup, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        hidden = gated(rep_out, group)
        self.group, self.action_in, self.action_out = group, rep_in, rep_out
        self.linear = RepLinear(rep_in, hidden, group, generator=generator)
        self.bilinear = Bilinear(hidden, group, generator=generator)
        self.gate = GatedNonlinearity(rep_out, group)
        self.in_shape = self.linear.in_shape

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = self.linear(x)
        return self.gate(y + self.bilinear(y))


class EMLP(nn.Module):
    """The equivariant multilayer perceptron: blocks between hidden types of a given width, then a linear map.

    Args:
        ch: width of the hidden type, ``uniform_rep(ch, group)``; or a type, or one for each layer.
        layers: number of blocks.

    Shapes:
        x: (..., size in)    returns: (..., size out)

    Raises:
        ConfigError: no layers, or another number of hidden types.

    References:
        Finzi, Welling and Wilson (2021), arXiv:2104.09459.

    Example:
        >>> from gnet.plugins.tensors import O, Embed, T
        >>> net = EMLP(4 * T(1), T(0), Embed(O(2), 3), ch=128, layers=3)
        >>> sum(p.numel() for p in net.parameters())
        27523
    """

    def __init__(
        self,
        rep_in: Rep,
        rep_out: Rep,
        group: GeneratedGroup,
        ch: int | Rep | Sequence[Rep] = 384,
        layers: int = 3,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"expected layers >= 1, got {layers}")
        hidden = [uniform_rep(ch, group)] * layers if isinstance(ch, int) else [ch] * layers if isinstance(ch, Rep) else list(ch)
        if len(hidden) != layers:
            raise ConfigError(f"expected one hidden type for each of {layers} layers, got {len(hidden)}")
        self.group, self.action_in, self.action_out = group, rep_in, rep_out
        steps = zip([rep_in, *hidden], hidden, strict=False)
        self.blocks = nn.ModuleList(EMLPBlock(a, b, group, generator=generator) for a, b in steps)
        self.last = RepLinear(hidden[-1], rep_out, group, generator=generator)
        self.in_shape = (rep_in.size(group.dim),)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network."""
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def uniform_rep(ch: int, group: GeneratedGroup) -> Rep:
    """A hidden type of ``ch`` entries, about as many in each rank.

    While entries are left: r is the largest rank with (r + 1) d^r of them, and d^(r - s) copies of every rank s <= r are added.
    Of groups whose dual is another type the copies of a rank are split over T(p, r - p) by binomial shares.

    Raises:
        ConfigError: ch < 1.

    References:
        The published code of Finzi, Welling and Wilson (2021), arXiv:2104.09459.

    Example:
        >>> from gnet.plugins.tensors import O
        >>> uniform_rep(128, O(3))
        Rep(38 T(0) + 12 T(1) + 3 T(2) + T(3))
    """
    if ch < 1:
        raise ConfigError(f"expected ch >= 1, got {ch}")
    d, copies = group.dim, dict[int, int]()
    if d == 1:
        return ch * T(0)  # all ranks have one entry
    while ch > 0:
        r = max(rank for rank in range(ch) if (rank + 1) * d**rank <= ch)
        for s in range(r + 1):
            copies[s] = copies.get(s, 0) + d ** (r - s)
        ch -= (r + 1) * d**r
    return sum((_split(copies[rank], rank, group) for rank in sorted(copies)), 0 * T(0))


def _split(num: int, rank: int, group: GeneratedGroup) -> Rep:
    """``num`` tensors of a rank over T(p, rank - p); what does not divide goes to the largest remainders."""
    if rank == 0 or group.is_orthogonal:
        return num * T(rank)
    shares = [num * math.comb(rank, p) / 2**rank for p in range(rank, -1, -1)]
    counts = [math.floor(share) for share in shares]
    for place in sorted(range(rank + 1), key=lambda i: counts[i] - shares[i])[: num - sum(counts)]:
        counts[place] += 1
    return sum((counts[i] * T(rank - i, i) for i in range(rank + 1)), 0 * T(0))


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
