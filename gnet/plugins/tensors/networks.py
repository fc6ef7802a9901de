"""Networks of layers between types of tensors: equivariant multilayer perceptrons, and the hidden types they have."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnet.counts import check_count
from gnet.errors import ConfigError
from gnet.groups import MatrixGroup
from gnet.plugins.tensors.layers import Bilinear, GatedNonlinearity, RepLinear, gated
from gnet.plugins.tensors.reps import Rep, T, check_types


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

    def __init__(self, rep_in: Rep, rep_out: Rep, group: MatrixGroup, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        group = check_types(group, rep_in, rep_out)
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
        group: MatrixGroup,
        ch: int | Rep | Sequence[Rep] = 384,
        layers: int = 3,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        group = check_types(group, rep_in, rep_out)
        if layers < 1:
            raise ConfigError(f"expected layers >= 1, got {layers}")
        each = uniform_rep(ch, group) if isinstance(ch, int | float) else ch
        hidden = [each] * layers if isinstance(each, Rep) else list(each)
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


def uniform_rep(ch: int, group: MatrixGroup) -> Rep:
    """A hidden type of ``ch`` entries, about as many in each rank.

    While entries are left: r is the largest rank with (r + 1) d^r of them, and d^(r - s) copies of every rank s <= r are added.
    Of groups whose dual is another type the copies of a rank are split over T(p, r - p) by binomial shares.

    Raises:
        ConfigError: ch < 1, or no whole number.

    References:
        The published code of Finzi, Welling and Wilson (2021), arXiv:2104.09459.

    Example:
        >>> from gnet.plugins.tensors import O
        >>> uniform_rep(128, O(3))
        Rep(38 T(0) + 12 T(1) + 3 T(2) + T(3))
    """
    check_count(ch=ch)
    d, copies = group.dim, dict[int, int]()
    if d == 1:
        return ch * T(0)  # all ranks have one entry
    while ch > 0:
        r = 0
        while (r + 2) * d ** (r + 1) <= ch:
            r += 1
        for s in range(r + 1):
            copies[s] = copies.get(s, 0) + d ** (r - s)
        ch -= (r + 1) * d**r
    return sum((_split(copies[rank], rank, group) for rank in sorted(copies)), 0 * T(0))


def _split(num: int, rank: int, group: MatrixGroup) -> Rep:
    """``num`` tensors of a rank over T(p, rank - p); what does not divide goes to the largest remainders."""
    if rank == 0 or group.is_orthogonal:
        return num * T(rank)
    shares = [num * math.comb(rank, p) / 2**rank for p in range(rank, -1, -1)]
    counts = [math.floor(share) for share in shares]
    for place in sorted(range(rank + 1), key=lambda i: counts[i] - shares[i])[: num - sum(counts)]:
        counts[place] += 1
    return sum((counts[i] * T(rank - i, i) for i in range(rank + 1)), 0 * T(0))
