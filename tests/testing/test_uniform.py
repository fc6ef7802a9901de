"""Liars among compact groups of matrices: samplers, rules, membership tests and orders that look right at low degrees."""

import math

import pytest
import torch

from gnet import PermutationGroup
from gnet.groups import GeneratedGroup
from gnet.groups.haar import haar_special_orthogonal, quadrature_so2, quadrature_so3
from gnet.plugins.tensors import SO, SU, B, D, O, OnProduct, Realified, S, U
from gnet.testing import LawBroken, check_group, enumerate_elements
from gnet.testing.uniform import _means, check_uniform


def like(group, **changes):
    """A group that differs in what is given."""
    known = {"form": group.form, "dim": group.dim}
    return GeneratedGroup(group.name, group.generators, group.lie_algebra, **(known | changes))


def among(elements):
    """Uniform on a few elements."""
    return lambda num, generator=None: elements[torch.randint(len(elements), (num,), generator=generator)]


def phases(num, generator=None):
    angles = 2 * math.pi * torch.rand(num, 1, 1, dtype=torch.float64, generator=generator)
    return torch.polar(torch.ones_like(angles), angles) * torch.eye(2, dtype=torch.complex128)


def diagonal(num, generator=None):
    angles = 2 * math.pi * torch.rand(num, 2, dtype=torch.float64, generator=generator)
    return torch.diag_embed(torch.polar(torch.ones_like(angles), angles))


def cube():
    found = B(3).elements()
    return found[torch.linalg.det(found) > 0]


def icosahedron():
    golden = (1 + 5**0.5) / 2
    fifth = torch.tensor([[golden - 1, -golden, 1], [golden, 1, golden - 1], [-1, golden - 1, golden]], dtype=torch.float64) / 2
    return enumerate_elements(GeneratedGroup("I", [fifth, torch.eye(3)[[1, 2, 0]]]))


def quaternions():
    i, j = torch.diag(torch.tensor([1j, -1j])).to(torch.complex128), torch.tensor([[0, 1], [-1, 0]], dtype=torch.complex128)
    return torch.stack([sign * g for g in (torch.eye(2).to(i), i, j, i @ j) for sign in (1, -1)])


def exponentials(num, generator=None):
    z = torch.randn(num, 3, dtype=torch.float64, generator=generator)
    return torch.linalg.matrix_exp(torch.einsum("nk,kij->nij", z, SO(3).lie_algebra))


SAMPLERS = {
    "half of O(3)": (O(3), SO(3).sample),
    "half of O(6)": (O(6), lambda num, generator=None: haar_special_orthogonal(6, num, generator)),
    "half of S(5)": (S(5), among(S(5).elements()[torch.linalg.det(S(5).elements()) > 0])),
    "the cube": (SO(3), among(cube())),
    "the icosahedron": (SO(3), among(icosahedron())),
    "quaternions": (SU(2), among(quaternions())),
    "phases": (U(2), phases),
    "diagonal": (U(2), diagonal),
    "determinant one": (U(2), SU(2).sample),
    "angles": (SO(3), exponentials),
    "a coset": (
        like(SO(2), contains=None),
        lambda num, generator=None: SO(2).sample(num, generator) @ torch.diag(torch.tensor([1.0, -1.0])).double(),
    ),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_of_another_law_is_found_out(name, seed):
    group, sampler = SAMPLERS[name]
    with pytest.raises(LawBroken, match="sample: "):
        check_group(like(group, sampler=sampler), seed=seed)


def test_the_groups_of_these_liars_are_none_of_them():
    assert (len(icosahedron()), len(cube()), len(quaternions())) == (60, 24, 8)
    for elements in (icosahedron(), cube(), quaternions()):
        check_group(GeneratedGroup("all of it", elements[1:]))
    for group in (S(7), O(6), Realified(U(2)), OnProduct(S(3), O(2)), SO(1), O(1), U(1)):
        check_group(group)


@pytest.mark.parametrize("rule_of", ["SO(2)", "SO(3)", "half of O(3)", "half of O(2)"])
def test_a_rule_that_is_exact_at_low_degrees_alone_is_found_out(rule_of):
    rules = {
        "SO(2)": (SO(2), lambda degree: quadrature_so2(min(degree, 2))),
        "SO(3)": (SO(3), lambda degree: quadrature_so3(min(degree, 2))),
        "half of O(3)": (O(3), quadrature_so3),
        "half of O(2)": (O(2), quadrature_so2),
    }
    group, rule = rules[rule_of]
    with pytest.raises(LawBroken, match="quadrature: "):
        check_group(like(group, sampler=group.sample, quadrature=rule))


@pytest.mark.parametrize(
    ("group", "contains", "law"),
    [
        (SO(3), lambda g: True, "contains: it takes 16 of 16 random matrices"),
        (D(3), lambda g: True, "contains: it takes 16 of 16 random matrices"),
        (SU(2), lambda g: True, "contains: it takes 16 of 16 random matrices"),
        (B(3), lambda g: bool((g.mT @ g - torch.eye(3)).abs().max() < 0.9), r"contains: it takes 1\d of 16 elements times"),
        (SO(2), lambda g: bool((g.mT @ g - g[:, 0].square().sum() * torch.eye(2)).abs().max() < 1e-6), "contains: it takes 2 I"),
        (SO(3), O(3).contains, "contains: what it takes for an element changes the law"),
        (SU(2), U(2).contains, "contains: what it takes for an element changes the law"),
    ],
    ids=["SO(3)", "D(3)", "SU(2)", "near", "multiples", "mirrors", "phases"],
)
def test_a_membership_test_that_takes_too_much_is_found_out(group, contains, law):
    with pytest.raises(LawBroken, match=law):
        check_group(like(group, sampler=group.sample, contains=contains))


@pytest.mark.parametrize(
    ("liar", "law"),
    [
        (
            GeneratedGroup("shears", [torch.tensor([[1.0, 1.0], [0.0, 1.0]])], order=3),
            "order: the generators make more than 3 el",
        ),
        (like(S(4), order=5000), r"order: the generators make 24 elements, order\(\) says 5000"),
        (like(S(7), order=2520, sampler=S(7).sample), "order: the generators make more than 2520 elements"),
        (like(S(7), order=10080, sampler=S(7).sample), "order: the generators make 5040 elements"),
    ],
    ids=["shears", "S(4)", "half of S(7)", "twice S(7)"],
)
def test_an_order_beyond_enumeration_is_counted(liar, law):
    with pytest.raises(LawBroken, match=law):
        check_group(liar)


class TwiceAsMany(PermutationGroup):
    """S(7) on nodes; what it says of its order is given."""

    factor = 2.0

    def order(self):
        return int(5040 * self.factor)

    def contains(self, g):
        return True


def test_an_order_of_nodes_beyond_enumeration_is_counted():
    cycle, swap = [1, 2, 3, 4, 5, 6, 0], [1, 0, 2, 3, 4, 5, 6]
    check_group(PermutationGroup([cycle, swap]))
    liar = TwiceAsMany([cycle, swap])
    for factor, made in ((2.0, "5040"), (0.5, "more than 2520")):
        liar.factor = factor
        with pytest.raises(LawBroken, match=f"order: the generators make {made} elements"):
            check_group(liar)


def test_a_shear_is_not_compact():
    """No raw error of linear algebra: its invariants have no complement."""
    shear = GeneratedGroup("shear", lie_algebra=[torch.tensor([[0.0, 1.0], [0.0, 0.0]])], is_compact=True)
    with pytest.raises(LawBroken, match=r"flags: is_compact is true, and .* no complement"):
        check_group(shear)


@pytest.mark.parametrize("seed", range(20))
def test_no_seed_blames_a_uniform_sampler(seed):
    check_uniform(O(3), seed)


def test_the_bound_on_means_is_that_of_the_theorem():
    """Numbers of variance 1/4 on [0, 1]: sqrt(2 V L / n) + 7 L / (3 (n - 1)), L = ln(4 / probability)."""
    values = torch.tensor([0.0, 1.0] * 500, dtype=torch.float64)[:, None]
    away, allowed = _means(values, 1.0, 3)
    log = math.log(12 / 1e-7)
    assert float(away) == pytest.approx(0.5)
    assert float(allowed) == pytest.approx((2 * 0.25 * 1000 / 999 * log / 1000) ** 0.5 + 7 * log / (3 * 999) + 1e-9)
