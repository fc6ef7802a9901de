"""Worker for symm-learning (Ordonez-Apraez): its basis of group homomorphisms, on escnn's decomposition of the nodes.

Its own decomposition, ``escnn_representation_form_mapping``, is tried when no case is given, and its error printed.
"""

import sys
from typing import Any

import numpy as np
import torch
from escnn_basis import representation
from exchange import answer
from symm_learning.representation_theory import GroupHomomorphismBasis, escnn_representation_form_mapping


def basis(case: dict[str, Any]) -> np.ndarray:
    """A basis of the equivariant maps, (dim, N, N)."""
    torch.set_default_dtype(torch.float64)
    nodes = representation(case)
    return GroupHomomorphismBasis(nodes, nodes, basis_expansion="memory_heavy").basis_elements.numpy()


def own_decomposition() -> str:
    """What symm-learning's own decomposition says to the turns of a ring of four nodes."""
    nodes = representation({"factors": [["cyclic", 4]], "generators": [[1, 2, 3, 0]]})
    try:
        escnn_representation_form_mapping(nodes.group, nodes)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "works"


if __name__ == "__main__":
    answer(basis, ("symm-learning", "escnn", "torch", "numpy"))
    if len(sys.argv) == 1:
        print(f"escnn_representation_form_mapping: {own_decomposition()}")
