"""Liars among groups: each breaks one law that ``check_group`` has."""

import pytest
import torch

from gnet import ClusterGroup, Partition, PermutationGroup
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


def test_an_honest_group_passes():
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
