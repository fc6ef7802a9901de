"""Nonlinearities of multi-images that commute with signed permutations, and why others do not.

A signed permutation permutes the components of a tensor and changes their signs. So any function may act on scalars (0, +), an
odd function on single components of any type, and a factor made of scalars may multiply a tensor. A ReLU of the components of a
vector, an even function of a pseudoscalar, or a constant added to a vector is none of these.
"""

from collections import Counter
from collections.abc import Set

import torch
from torch import Tensor, nn

from gnet.errors import ConfigError
from gnet.plugins.geometric_images.multi import MultiImage, Signature, Type
from gnet.plugins.geometric_images.pointwise import slack, tensor_norms
from gnet.plugins.geometric_images.weighted import through

SLOPE = 0.01
"""Of the leaky ReLU below zero."""


class Gate(nn.Module):
    """A nonlinearity of each pixel by itself, the base of those here; a subclass writes ``_of`` for stacked signals.

    ``formula`` is what ``repr`` prints: s for scalars, q for pseudoscalars, T for other tensors, u, v, w for vectors.

    Args:
        sig_in, sig_out: what it takes and returns.

    Shapes:
        x: (B, sig_in.size, N, ..., N), or a MultiImage    returns: (B, sig_out.size, N, ..., N), or a MultiImage

    Example:
        >>> NormGate(Signature(2, {(0, 1): 3, (1, 1): 2}))
        NormGate(3 x 0(+) + 2 x 1(+) in d = 2 | SiLU(s), T sigmoid(a |T| + b))
        >>> isinstance(NormGate(Signature(2, {(1, 1): 2})), Gate)
        True
    """

    formula = ""

    def __init__(self, sig_in: Signature, sig_out: Signature) -> None:
        super().__init__()
        self.sig_in, self.sig_out = sig_in, sig_out

    def forward(self, x: Tensor | MultiImage) -> Tensor | MultiImage:
        """Of each channel and pixel by itself."""
        if isinstance(x, MultiImage):
            return through(self, x, self.sig_in, self.sig_out, None)
        self.sig_in.check(x)
        return self._of(x)

    def _of(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def reached(self, types: Set[Type]) -> set[Type]:
        """Types of the output that are not 0 everywhere where these types of the input are not."""
        return set(types) & set(self.sig_out.channels)

    def __repr__(self) -> str:
        types = self.sig_in.words if self.sig_in == self.sig_out else f"{self.sig_in.words} -> {self.sig_out.words}"
        return f"{type(self).__name__}({types} in d = {self.sig_in.d}{self.formula and f' | {self.formula}'})"


class NormGate(Gate):
    """SiLU on scalars; other tensors times sigmoid(a |T| + b), with a and b for each channel: the norm is a scalar.

    Pseudoscalars are tensors of one component here: the factor is even, so that the whole is odd.

    Shapes:
        x: (B, size, N, ..., N)    returns: likewise

    References:
        Weiler, Geiger, Welling, Boomsma and Cohen (2018), arXiv:1807.02547, section 3, for gates of norms.

    Example:
        >>> NormGate(Signature(2, {(0, 1): 3, (1, 1): 2}))(torch.randn(4, 7, 8, 8)).shape
        torch.Size([4, 7, 8, 8])
    """

    formula = "SiLU(s), T sigmoid(a |T| + b)"

    def __init__(self, signature: Signature) -> None:
        super().__init__(signature, signature)
        channels = sum(signature.channels.values()) - signature.channels.get((0, 1), 0)
        self.slope, self.offset = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def _of(self, x: Tensor) -> Tensor:
        found, start = [], 0
        for kind, block in self.sig_in.blocks(x):
            if kind == (0, 1):
                found.append(nn.functional.silu(block).flatten(1, 2))
                continue
            n = block.shape[1]
            shape = (n, 1, *[1] * self.sig_in.d)
            slope, offset = (each[start : start + n].reshape(shape) for each in (self.slope, self.offset))
            found.append((block * torch.sigmoid(slope * tensor_norms(block, 2) + offset)).flatten(1, 2))
            start += n
        return torch.cat(found, 1)


class ScalarGate(Gate):
    """SiLU on scalars; each other channel is multiplied by the sigmoid of a scalar channel of its own, which is used up.

    The input has one more channel of type (0, +) for every channel of another type: ``ScalarGate(signature).sig_in``.

    Shapes:
        x: (B, sig_in.size, N, ..., N)    returns: (B, sig_out.size, N, ..., N)

    Example:
        >>> gate = ScalarGate(Signature(2, {(0, 1): 3, (1, 1): 2}))
        >>> gate.sig_in, gate(torch.randn(4, 9, 8, 8)).shape
        (Signature(5 x 0(+) + 2 x 1(+) in d = 2), torch.Size([4, 7, 8, 8]))
    """

    formula = "SiLU(s), T sigmoid(s')"

    def __init__(self, signature: Signature) -> None:
        gated = sum(n for kind, n in signature.channels.items() if kind != (0, 1))
        given = {**signature.channels, (0, 1): signature.channels.get((0, 1), 0) + gated}
        super().__init__(Signature(signature.d, given), signature)

    def _of(self, x: Tensor) -> Tensor:
        kept = self.sig_out.channels.get((0, 1), 0)
        total = self.sig_in.channels[0, 1]
        factors = torch.sigmoid(x[:, kept:total, None])
        found, start = [nn.functional.silu(x[:, :kept])], 0
        for kind, block in self.sig_in.blocks(x):
            if kind != (0, 1):
                n = block.shape[1]
                found.append((block * factors[:, start : start + n]).flatten(1, 2))
                start += n
        return torch.cat(found, 1)


class ProductGate(Gate):
    """Products of pairs of channels: T times the sigmoid of a scalar, plus a T' of the other parity times tanh of a pseudoscalar.

    Scalars become SiLU(s + u . v) for two vectors of their own; pseudoscalars have u . w added, with w a pseudovector. So a
    first layer sees products that no gate by scalars has where linear scalars vanish: a velocity without divergence makes
    pseudoscalars (its vorticity) but no scalars, and u x vorticity is what moves a flow.

    Shapes:
        x: (B, sig_in.size, N, ..., N)    returns: (B, sig_out.size, N, ..., N)

    Example:
        >>> gate = ProductGate(Signature(2, {(0, -1): 1, (1, 1): 1}))
        >>> gate.sig_in
        Signature(2 x 0(+) + 2 x 0(-) + 2 x 1(+) + 2 x 1(-) in d = 2)
    """

    formula = "SiLU(s + u . v), q sigmoid(s') + u . w, T sigmoid(s') + T' tanh(q')"

    def __init__(self, signature: Signature) -> None:
        given: Counter[Type] = Counter()
        for (k, p), n in signature.channels.items():
            given[k, p] += n  # T itself
            if k == 0:
                given[1, 1] += n  # u, and v or w
                given[1, p] += n
            if (k, p) != (0, 1):
                given[0, 1] += n  # its scalar
            if k > 0:
                given[k, -p] += n  # T', and its pseudoscalar
                given[0, -1] += n
        super().__init__(Signature(signature.d, given), signature)

    def reached(self, types: Set[Type]) -> set[Type]:
        """Also those that products reach."""
        factors = {(k, p): ((1, 1), (1, p)) if k == 0 else ((k, -p), (0, -1)) for k, p in self.sig_out.channels}
        return super().reached(types) | {kind for kind, pair in factors.items() if types >= set(pair)}

    def _of(self, x: Tensor) -> Tensor:
        blocks = dict(self.sig_in.blocks(x))
        used = dict.fromkeys(blocks, 0)

        def next_of(kind: Type, n: int) -> Tensor:
            used[kind] += n
            return blocks[kind][:, used[kind] - n : used[kind]]

        found = []
        for (k, p), n in self.sig_out.channels.items():
            T = next_of((k, p), n)
            dot = (next_of((1, 1), n) * next_of((1, p), n)).sum(2, keepdim=True) if k == 0 else 0.0
            if (k, p) == (0, 1):
                found.append(nn.functional.silu(T + dot).flatten(1, 2))
                continue
            y = T * torch.sigmoid(next_of((0, 1), n)) + dot
            y = y + next_of((k, -p), n) * torch.tanh(next_of((0, -1), n)) if k else y
            found.append(y.flatten(1, 2))
        return torch.cat(found, 1)


class ContractGate(Gate):
    """Tensors of even order and parity + times 1 where their full contraction is not negative, 0.01 where it is.

    Of scalars it is the leaky ReLU; odd orders, and parity -, where the sign of a contraction is no scalar, pass as they are.
    It is not continuous for k >= 2. A contraction that no rounding tells from 0 counts as 0: those of some layers are 0 for
    every input (from pseudovectors in d = 3 by M = 3), and the sign of their rounding would turn with nothing.

    Shapes:
        x: (B, size, N, ..., N)    returns: likewise

    References:
        Gregory et al. (2023), arXiv:2305.12585, section 6: leaky ReLU on scalars made by contraction.

    Example:
        >>> ContractGate(Signature(2, {(0, 1): 1}))(torch.tensor([-1.0, 2.0]).reshape(2, 1, 1, 1)).flatten()
        tensor([-0.0100,  2.0000])
    """

    formula = "T where tr T >= 0, else 0.01 T, of even order and parity +"

    def __init__(self, signature: Signature) -> None:
        super().__init__(signature, signature)

    def _of(self, x: Tensor) -> Tensor:
        found = []
        for (k, p), block in self.sig_in.blocks(x):
            if k % 2 == 0 and p > 0:
                scalar = block.unflatten(2, (self.sig_in.d,) * k) if k else block[:, :, 0]
                for _ in range(k // 2):
                    scalar = scalar.diagonal(dim1=2, dim2=3).sum(-1)
                least = -slack(x.dtype) * block.abs().amax(2) if k else 0.0
                block = torch.where((scalar >= least)[:, :, None], block, SLOPE * block)
            found.append(block.flatten(1, 2))
        return torch.cat(found, 1)


class Odd(Gate):
    """SiLU on scalars, tanh on every component of every other type: odd functions commute with signs and permutations.

    That holds for signed permutations, not for other rotations.

    Shapes:
        x: (B, size, N, ..., N)    returns: likewise

    Example:
        >>> Odd(Signature(2, {(1, 1): 2}))(torch.randn(4, 4, 8, 8)).abs().max() < 1
        tensor(True)
    """

    formula = "SiLU(s), tanh of every other component"

    def __init__(self, signature: Signature) -> None:
        super().__init__(signature, signature)

    def _of(self, x: Tensor) -> Tensor:
        end = self.sig_in.scalars.stop
        return torch.cat([nn.functional.silu(x[:, :end]), torch.tanh(x[:, end:])], 1)


GATES: dict[str, type[Gate]] = {
    "norm": NormGate,
    "scalars": ScalarGate,
    "products": ProductGate,
    "contract": ContractGate,
    "odd": Odd,
}


def make_gate(name: str, signature: Signature) -> Gate:
    """A nonlinearity by name: "norm", "scalars", "products", "contract" or "odd"; ``sig_in`` says what it takes.

    Raises:
        ConfigError: another name.

    Example:
        >>> type(make_gate("norm", Signature(2, {(1, 1): 2}))).__name__
        'NormGate'
    """
    if name not in GATES:
        raise ConfigError(f"expected a nonlinearity among {', '.join(GATES)}, got {name!r}")
    return GATES[name](signature)  # type: ignore[call-arg]
