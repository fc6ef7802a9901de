"""Worker for escnn (Cesa, Lang and Weiler 2022): irreducible representations of a permutation representation, then the maps."""

import functools
import itertools
from typing import Any

import numpy as np
from escnn.group import Group, Representation, cyclic_group, dihedral_group, direct_product, homomorphism_space
from escnn.group.representation import build_from_discrete_group_representation
from exchange import answer, permutation_matrix

KINDS = {"cyclic": cyclic_group, "dihedral": dihedral_group}
FRESH = itertools.count()


def representation(case: dict[str, Any]) -> Representation:
    """The nodes as a representation of escnn's own group, whose generators in turn act as the case's."""
    if not case["factors"]:
        raise NotImplementedError("no such group")  # cyclic, dihedral and polyhedral ones there are, and their products
    factors = [KINDS[kind](order) for kind, order in case["factors"]]
    group: Group = functools.reduce(direct_product, factors)
    steps = [(g, permutation_matrix(perm)) for g, perm in zip(group.generators, case["generators"], strict=True)]
    known = {group.identity: np.eye(len(steps[0][1]))}
    reached = [group.identity]
    for element in reached:
        for generator, matrix in steps:
            image = generator @ element
            if image not in known:
                known[image] = matrix @ known[element]
                reached.append(image)
    return build_from_discrete_group_representation(known, f"nodes {next(FRESH)}", group, [])


def basis(case: dict[str, Any]) -> np.ndarray:
    """A basis of the equivariant maps, (dim, N, N)."""
    nodes = representation(case)
    return homomorphism_space(nodes, nodes)


if __name__ == "__main__":
    answer(basis, ("escnn", "torch", "numpy"))
