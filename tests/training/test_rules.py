"""The way back from a group to a rule: what the rule makes is the group again, and what no rule makes is refused."""

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import grid

import gnet
from gnet.errors import ConfigError, GroupError
from gnet.graphs import Partition
from gnet.groups import ClusterGroup, PermutationGroup, SymmetricGroup, TrivialGroup, automorphism_group, grid_group
from gnet.selection import SymmetrySelection, candidate_groups
from gnet.training import Automorphism, GivenPartition, GNetModule, Grid, Symmetric, Trivial, rule_of
from gnet.training.planted import Planted
from gnet.training.symmetry import as_symmetry
from tests.training.small import quiet_trainer

BOARD = Data(edge_index=grid(3, 2)[0], num_nodes=6)


@pytest.mark.parametrize(
    ("group", "rule"),
    [
        (TrivialGroup(6), Trivial()),
        (PermutationGroup([], degree=6), Trivial()),
        (SymmetricGroup(6), Symmetric()),
        (PermutationGroup([[1, 0, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]]), Symmetric()),
        (ClusterGroup(Partition([0, 1, 0, 2, 1, 1])), GivenPartition(labels=[0, 1, 0, 2, 1, 1])),
        (automorphism_group(BOARD), Automorphism()),
        (grid_group((3, 2), "translations"), Grid("translations")),
        (grid_group((3, 2), "half_turn"), Grid("half_turn")),
    ],
)
def test_the_rule_makes_the_group_again(group, rule):
    found = rule_of(group, BOARD, (3, 2))
    assert found == rule and found(BOARD, (3, 2)) == group
    assert as_symmetry(found.as_config()) == rule
    others = [each for each in (Trivial(), Symmetric(), Automorphism()) if each != rule]
    assert not any(each(BOARD) == group for each in others), "the liars"


def test_every_candidate_has_a_rule():
    for group in candidate_groups(BOARD, grid_shape=(3, 2)):
        assert rule_of(group, BOARD, (3, 2))(BOARD, (3, 2)) == group


def test_what_no_rule_makes_is_refused():
    cycle = PermutationGroup([[1, 2, 3, 4, 5, 0]])
    with pytest.raises(ConfigError, match=r"no rule of a config makes PermutationGroup\(<1 generator on 6 nodes>, order 6\)"):
        rule_of(cycle, BOARD, (3, 2))
    swapped = ClusterGroup(Partition([0, 0, 0, 1, 1, 1]), swaps=PermutationGroup([[1, 0]]))
    with pytest.raises(ConfigError, match=r"write a gnet\.training\.Symmetry of your own that returns it"):
        rule_of(swapped, BOARD)
    with pytest.raises(ConfigError, match="no rule"):
        rule_of(grid_group((3, 2), "translations"), BOARD)  # nobody said that it is a grid
    with pytest.raises(GroupError, match="expected a group on the 6 nodes of the graph, got one on 5"):
        rule_of(TrivialGroup(5), BOARD)
    with pytest.raises(GroupError, match="expected a node group"):
        rule_of("S6", BOARD)


def test_the_group_that_was_chosen_trains_and_keeps_its_name(tmp_path):
    data = Planted(sizes=[3, 3], num_train=40, num_val=8, num_test=8, kind="ring")
    data.setup()
    arrays = data.train_arrays()
    own = automorphism_group(data.graph)
    selection = SymmetrySelection([own], merge=False).fit(arrays.x, arrays.y, data.graph)
    module, trainer = GNetModule(rule_of(selection.best_group_, data.graph), hidden_channels=4), quiet_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    net = gnet.load(tmp_path / "net.ckpt")
    assert net.group == own and net.group.name == own.name == "Aut of 6 nodes"
    content = torch.load(tmp_path / "net.ckpt", weights_only=True)
    record = next(each for each in content.values() if isinstance(each, dict) and "group" in each)
    del record["group"]["name"]
    torch.save(content, tmp_path / "old.ckpt")
    assert gnet.load(tmp_path / "old.ckpt").group.name == "<2 generators on 6 nodes>", "older checkpoints have no name"
