"""Tensors that a group of matrices acts on, and every linear map between them."""

from collections.abc import Callable

from gnet.groups import GeneratedGroup
from gnet.plugins.tensors.composed import BlockSum, Embed, OnProduct, Realified
from gnet.plugins.tensors.descent import Descent, descend
from gnet.plugins.tensors.groups import GL, SL, SO, SU, B, C, D, DPerm, Lorentz, O, S, Sp, Trivial, U, Z
from gnet.plugins.tensors.hom import HomSpace, hom_basis, invariant_dim
from gnet.plugins.tensors.irreps import irreps_of, to_irreps
from gnet.plugins.tensors.layers import Bilinear, GatedNonlinearity, RepLinear, gated, shared_maps
from gnet.plugins.tensors.networks import EMLP, EMLPBlock, uniform_rep
from gnet.plugins.tensors.reps import Regular, Rep, Simple, T, regular
from gnet.plugins.tensors.solvers import chosen_solver, count_orbits, invariant_tensors, orbit_basis, sparsify

CATALOG: dict[str, Callable[[], GeneratedGroup]] = {
    "Trivial(2)": lambda: Trivial(2),
    "Z(5)": lambda: Z(5),
    "S(4)": lambda: S(4),
    "C(3)": lambda: C(3),
    "D(4)": lambda: D(4),
    "DPerm(5)": lambda: DPerm(5),
    "B(3)": lambda: B(3),
    "SO(2)": lambda: SO(2),
    "O(2)": lambda: O(2),
    "SO(3)": lambda: SO(3),
    "O(3)": lambda: O(3),
    "SO(4)": lambda: SO(4),
    "O(5)": lambda: O(5),
    'Lorentz(3, "SO+")': lambda: Lorentz(3, "SO+"),
    'Lorentz(3, "SO")': lambda: Lorentz(3, "SO"),
    "Lorentz(3)": lambda: Lorentz(3),
    "Sp(4)": lambda: Sp(4),
    "SL(3)": lambda: SL(3),
    "GL(3)": lambda: GL(3),
    "U(2)": lambda: U(2),
    "SU(2)": lambda: SU(2),
    "SU(3)": lambda: SU(3),
    "Realified(U(2))": lambda: Realified(U(2)),
    "Embed(SO(2), 3)": lambda: Embed(SO(2), 3),
    "Embed(O(2), 3)": lambda: Embed(O(2), 3),
    "Embed(D(6), 3)": lambda: Embed(D(6), 3),
    "BlockSum(S(2), S(3))": lambda: BlockSum(S(2), S(3)),
    "OnProduct(S(2), O(2))": lambda: OnProduct(S(2), O(2)),
}
"""How each group is written -> a function that makes it: what this family adds to ``python -m gnet catalog``."""

__all__ = [
    "CATALOG",
    "EMLP",
    "GL",
    "SL",
    "SO",
    "SU",
    "B",
    "Bilinear",
    "BlockSum",
    "C",
    "D",
    "DPerm",
    "Descent",
    "EMLPBlock",
    "Embed",
    "GatedNonlinearity",
    "HomSpace",
    "Lorentz",
    "O",
    "OnProduct",
    "Realified",
    "Regular",
    "Rep",
    "RepLinear",
    "S",
    "Simple",
    "Sp",
    "T",
    "Trivial",
    "U",
    "Z",
    "chosen_solver",
    "count_orbits",
    "descend",
    "gated",
    "hom_basis",
    "invariant_dim",
    "invariant_tensors",
    "irreps_of",
    "orbit_basis",
    "regular",
    "shared_maps",
    "sparsify",
    "to_irreps",
    "uniform_rep",
]
