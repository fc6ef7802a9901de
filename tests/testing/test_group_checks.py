"""Liars among groups: each breaks one law that ``check_group`` has."""

import pytest
import torch

from gnet import ClusterGroup, Partition, PermutationGroup
from gnet.errors import GroupError
from gnet.groups import MatrixGroup
from gnet.testing import LawBroken, check_group

PARTITION = Partition([0, 1, 0, 1, 1])


class WrongOrder(ClusterGroup):
    def order(self):
        return 24


class WrongOrbits(ClusterGroup):
    def node_orbits(self):
        return Partition.whole(5)


class SamplesOutside(PermutationGroup):
    def sample(self, num, generator=None):
        return torch.stack([torch.randperm(5, generator=generator) for _ in range(num)])

    def contains(self, g):
        return True


class SamplesOnlyIdentity(ClusterGroup):
    def sample(self, num, generator=None):
        return torch.arange(5).expand(num, -1)


class Mirrors(MatrixGroup):
    """The identity and a mirror of R^d; what it says of itself is given."""

    name = "mirrors"

    def __init__(self, dim=2, size=2, dtype=torch.float64):
        self.dim, self.size, self.kind = dim, size, dtype

    def sample(self, num, generator=None):
        found = torch.eye(self.size, dtype=self.kind).repeat(num, 1, 1)
        found[:, 0, 0] = 1 - 2 * torch.randint(2, (num,), generator=generator).to(self.kind)
        return found


def test_an_honest_group_passes():
    check_group(Mirrors())
    check_group(ClusterGroup(PARTITION))
    check_group(PermutationGroup([[1, 2, 3, 4, 0]]))


@pytest.mark.parametrize(
    ("liar", "law"),
    [
        (WrongOrder(PARTITION), r"order: the generators make 12 elements, order\(\) says 24"),
        (WrongOrbits(PARTITION), "node orbits"),
        (SamplesOutside([[1, 2, 3, 4, 0]]), "samples are not made by the generators"),
        (SamplesOnlyIdentity(PARTITION), "all the same"),
    ],
    ids=["order", "orbits", "outside", "identity"],
)
def test_a_group_that_lies_is_found_out(liar, law):
    with pytest.raises(LawBroken, match=law):
        check_group(liar)


@pytest.mark.parametrize(
    ("group", "error", "message"),
    [
        (Mirrors(dtype=torch.float32), LawBroken, r"dtype: expected elements of torch\.float64 .*, got torch\.float32"),
        (Mirrors(dtype=torch.complex128), LawBroken, r"got torch\.complex128"),
        (Mirrors(size=3), LawBroken, r"shape: expected elements \(2, 2\) for dim = 2, got \(3, 3\)"),
        (Mirrors(dim=MatrixGroup.dim), LawBroken, r"\(1, 1\) for dim = 1, got \(2, 2\); give the class its dim"),
        (Mirrors(dim=2.0), LawBroken, r"dim: expected a whole number >= 1, got 2\.0"),
        (Mirrors, GroupError, r"got the class Mirrors; make one with Mirrors\(\.\.\.\)"),
        ("SO(3)", GroupError, r"expected a group, got 'SO\(3\)'; write .* gnet\.plugins\.tensors\.SO\(3\)"),
    ],
)
def test_what_is_no_group_of_matrices(group, error, message):
    with pytest.raises(error, match=message):
        check_group(group)
