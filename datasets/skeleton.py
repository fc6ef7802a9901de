"""Skeletons: joints, the bone from each to its parent, and which joints are left and right of each other."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from gnet.errors import DataError
from gnet.graphs.proximity import symmetric_graph


@dataclass(frozen=True)
class Skeleton:
    """A tree of joints with pairs of left and right ones; joint 0 is the root.

    Args:
        names: of the joints.
        parents: of each joint, -1 for the root.
        left: joints of the left side.
        right: their partners, in the same order.

    Raises:
        DataError: a root other than joint 0 or several, a cycle, no pairs, or pairs that no mirror image has.

    Example:
        >>> skeleton = Skeleton(("hip", "left knee", "right knee"), (-1, 0, 0), left=(1,), right=(2,))
        >>> skeleton.bones.tolist(), skeleton.mirror().tolist()
        ([[0, 1], [0, 2]], [0, 2, 1])
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]

    def __post_init__(self) -> None:
        size = len(self.parents)
        if len(self.names) != size:
            raise DataError(f"expected a name for each of {size} joints, got {len(self.names)} names")
        roots = [joint for joint, parent in enumerate(self.parents) if parent == -1]
        if roots != [0]:
            raise DataError(f"expected one root, joint 0 with parent -1, got the roots {roots}; renumber the joints")
        wrong = [joint for joint, parent in enumerate(self.parents) if not -1 <= parent < size]
        if wrong:
            raise DataError(f"joints {wrong} have parents that do not exist; expected 0..{size - 1}, or -1 for the root")
        self._check_tree()
        self._check_pairs()

    def _check_tree(self) -> None:
        for joint in range(len(self.parents)):
            path = [joint]
            while self.parents[path[-1]] != -1:
                path.append(self.parents[path[-1]])
                if path[-1] in path[:-1]:
                    names = " -> ".join(self.names[each] for each in path)
                    raise DataError(f"expected a tree, got a cycle of parents: {names}; each joint must lead to the root")

    def _check_pairs(self) -> None:
        both = (*self.left, *self.right)
        if not both:
            alike = _named_alike(self.names)
            hint = f", for example {' and '.join(alike[0])}" if alike else ""
            raise DataError(
                "expected at least one pair of a left and a right joint, got left [] and right []; list the joints of each side, "
                f"partners in the same order{hint}"
            )
        if not self.left or len(self.left) != len(self.right) or len(set(both)) != len(both):
            raise DataError(
                f"expected pairs of left and right joints, each joint in one pair, got left {list(self.left)}, "
                f"right {list(self.right)}; list the partners in the same order"
            )
        if not set(both) <= set(range(len(self.parents))):
            raise DataError(f"left and right name joints outside 0..{len(self.parents) - 1}: {sorted(both)}")
        mirror = self.mirror().tolist()
        for joint, parent in enumerate(self.parents):
            if mirror[joint] == joint and parent != -1 and mirror[parent] != parent:
                raise DataError(
                    f"{self.names[joint]} is in no pair, but its parent {self.names[parent]} is; list it and its partner in left "
                    "and right"
                )
            image = -1 if parent == -1 else mirror[parent]
            if self.parents[mirror[joint]] != image:
                raise DataError(
                    f"{self.names[joint]} and {self.names[mirror[joint]]} are a pair, but their parents are none; "
                    "check the order of left and right"
                )

    @classmethod
    def from_record(cls, record: Any, where: str) -> "Skeleton":
        """The skeleton in a dictionary with the keys names, parents, left and right.

        Raises:
            DataError: keys that are missing, or no skeleton; the message starts with ``where``.
        """
        keys = ("names", "parents", "left", "right")
        missing = [key for key in keys if not isinstance(record, dict) or not isinstance(record.get(key), list)]
        if missing:
            raise DataError(
                f"{where}: expected lists {', '.join(keys)}, got none for {missing}; left and right list the joints of each "
                "side, partners in the same order"
            )
        names = tuple(str(name) for name in record["names"])
        try:
            return cls(names, *(tuple(int(joint) for joint in record[key]) for key in keys[1:]))
        except (TypeError, ValueError) as error:  # a DataError is a ValueError
            raise DataError(f"{where}: {error}") from error

    @property
    def num_joints(self) -> int:
        """N."""
        return len(self.parents)

    @property
    def bones(self) -> Tensor:
        """(N - 1, 2): each joint but the root with its parent first."""
        return torch.tensor([[parent, joint] for joint, parent in enumerate(self.parents) if parent != -1])

    def mirror(self) -> Tensor:
        """(N,): the permutation of the joints that a mirror makes."""
        perm = torch.arange(len(self.parents))
        left, right = torch.tensor(self.left, dtype=torch.long), torch.tensor(self.right, dtype=torch.long)
        perm[left], perm[right] = right, left
        return perm

    def graph(self) -> Data:
        """The joints joined by the bones, both ways, without weights."""
        return symmetric_graph(self.bones.T, None, self.num_joints)

    def bone_lengths(self, positions: Tensor) -> Tensor:
        """Length of each bone, in the order of ``bones``.

        Shapes:
            positions: (*, N, 3)    returns: (*, N - 1)
        """
        ends = self.bones
        return (positions[..., ends[:, 1], :] - positions[..., ends[:, 0], :]).norm(dim=-1)


def _named_alike(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Names that say they are partners: LHip and RHip, left knee and right knee."""
    swaps = (("left", "right"), ("Left", "Right"), ("L", "R"), ("l_", "r_"))
    found = [(name, b + name.removeprefix(a)) for name in names for a, b in swaps if name.startswith(a)]
    return [(one, other) for one, other in found if other in names]


HUMAN36M_16 = Skeleton(
    names=(
        *("Hip", "RHip", "RKnee", "RFoot", "LHip", "LKnee", "LFoot", "Spine", "Thorax", "Head"),
        *("LShoulder", "LElbow", "LWrist", "RShoulder", "RElbow", "RWrist"),
    ),
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14),
    left=(4, 5, 6, 10, 11, 12),
    right=(1, 2, 3, 13, 14, 15),
)
"""The 16 joints that lifting on Human3.6M uses: its 17 moving ones without Neck/Nose, the shoulders hung on the thorax."""

STANCE_16 = torch.tensor(
    [
        *([0.0, 0.0], [-0.17, -0.14], [-0.2, -0.55], [-0.24, -0.95], [0.17, -0.14], [0.2, -0.55], [0.24, -0.95]),
        *([0.0, 0.25], [0.0, 0.5], [0.0, 0.75], [0.2, 0.46], [0.42, 0.26], [0.62, 0.04]),
        *([-0.2, 0.46], [-0.42, 0.26], [-0.62, 0.04]),
    ]
)
"""The joints of ``HUMAN36M_16`` in the plane, (16, 2), to draw them: a person seen from the front, about in metres."""
