"""The way back: from a group to the rule that a config writes for it."""

from typing import TYPE_CHECKING, get_args

from gnet.errors import ConfigError, GroupError
from gnet.groups import ClusterGroup, GridSymmetry, NodeGroup
from gnet.groups.base import check_node_group
from gnet.training.symmetry import Automorphism, GivenPartition, Grid, Symmetric, Symmetry, Trivial, num_nodes_of

if TYPE_CHECKING:
    from torch_geometric.data import Data


def rule_of(group: NodeGroup, graph: "Data", grid_shape: tuple[int, int] | None = None) -> Symmetry:
    """The rule that makes this group of this graph, to write into a config: of ``SymmetrySelection(...).best_group_``, say.

    No symmetry is ``Trivial``, full symmetry ``Symmetric``, clusters are ``GivenPartition``, and the graph's own symmetries
    ``Automorphism``; of an image grid (H, W) ``Grid`` too.

    Raises:
        GroupError: no group of nodes, or one of other nodes than the graph's.
        ConfigError: another group: no rule of ours makes it.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> rule_of(ClusterGroup(Partition([0, 0, 1])), path)
        GivenPartition(path=None, labels=[0, 0, 1])
        >>> rule_of(PermutationGroup([[2, 1, 0]]), path), rule_of(SymmetricGroup(3), path)
        (Automorphism(tol=1e-06), Symmetric())
        >>> rule_of(TrivialGroup(3), path).as_config()["class_path"]
        'gnet.training.symmetry.Trivial'
    """
    check_node_group(group)
    size = num_nodes_of(graph)
    if group.degree != size:
        raise GroupError(f"expected a group on the {size} nodes of the graph, got one on {group.degree}")
    if group.order() == 1:
        return Trivial()
    if isinstance(group, ClusterGroup) and group.swaps is None:
        return Symmetric() if group.partition.num_clusters == 1 else GivenPartition(labels=group.partition.labels.tolist())
    rules: list[Symmetry] = [Symmetric(), Automorphism()]
    if grid_shape is not None:
        rules += [Grid(kind) for kind in get_args(GridSymmetry)]
    for rule in rules:
        try:
            if rule(graph, grid_shape) == group:
                return rule
        except GroupError:
            continue  # quarter turns of a grid that is not square, or groups that cannot be compared
    raise ConfigError(
        f"no rule of a config makes {group} of this graph; write a gnet.training.Symmetry of your own that returns it, or give "
        "the group itself to GNet"
    )
