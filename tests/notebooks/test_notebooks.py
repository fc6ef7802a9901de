"""Every notebook is executed whole; each exercise notices that there is no answer yet, a wrong one, and the right one."""

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from torch_geometric.data import Data

from gnet import ClusterGroup, GNet, Partition, PermutationGroup, TrivialGroup

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK = {  # smaller numbers for the parameter cells, so that all notebooks together take about a minute
    "bias_and_variance": "NUM_DRAWS = 10",
    "approximate_symmetry": "NUM_TRIALS, NUM_SAMPLES = 10, 2",
    "choosing_a_coarsening": "NUM_SAMPLES = 500",
    "from_files_to_a_model": "NUM_EPOCHS, NUM_CANDIDATES = 10, 3",
    "gnet_in_a_pyg_pipeline": "NUM_EPOCHS = 12",
    "what_a_gnn_cannot_tell_apart": "STEPS = 60",
    "what_the_published_code_computes": "NUM_STEPS = 30",
    "what_units_buy": "MAX_ITER, NUM_STEPS = 200, 50",
}
SOLUTIONS = {
    "coarsening 1": "chosen.num_clusters**2 + int((chosen.sizes > 1).sum())",
    "coarsening 2": "min(risks, key=lambda size: risks[size].risk)",
    "coarsening 3": "chain(graph, num_clusters=[3, 9])",
    "variance 1": 'crossover_sample_size(theta, pairs, halves, sigma_xi=SIGMA_XI, estimator="projected")',
    "variance 2": "optimal_shrinkage(theta, halves, 20, sigma_xi=SIGMA_XI).factors[0]",
    "variance 3": "crossover_sample_size(torch.tensor([1, 1, 0.92]).double() / 2.8464**0.5, ClusterGroup(Partition([0, 0, 1])), "
    "ClusterGroup(Partition([0, 0, 0])), sigma_xi=1 / 6, output='invariant', estimator='constrained')",
    "published 1": "0",
    "published 2": 'float(supports["self"][0, 0])',
    "published 3": '(supports["edge_weights"][1] > 0).nonzero().flatten().tolist()',
    "bounds 1": 'filter_bound(grid, partitions[2], [1.0, 1.0], target="reynolds")',
    "bounds 2": '["cut", "operator", "Frobenius"]',
    "bounds 3": "gains[1].mean() / gains[120].mean()",
    "custom 1": "PairOrbits.of(group).count",
    "custom 2": "PermutationGroup([turn, (-torch.arange(12)) % 12])",
    "custom 3": 'PairOrbits.of(grid_group((4, 3), "translations")).count',
    "pyg 1": 'nets["GNet, districts"][0](torch.randn(20 * 64, 1)).shape',
    "pyg 2": '"batch"',
    "pyg 3": "GNet(ClusterGroup(districts), 1, 8, 1)",
    "expressivity 1": "wl_colors(Data(edge_index=torch.tensor(list(nx.path_graph(9).to_directed().edges)).t(), num_nodes=9))"
    ".num_classes",
    "expressivity 2": "[1, *[0] * 11]",
    "expressivity 3": "Data(num_nodes=7, edge_index=torch.tensor(list("
    "nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(4)).to_directed().edges)).t())",
    "files 1": "selection.path_[0].difference / selection.path_[0].difference_error",
    "files 2": "selection.merge_path_.partition(selection.merge_path_.best + 1)",
    "files 3": "net.predict(row.masked_fill(torch.arange(row.shape[1])[:, None] < 2, float('nan')))[0, 0, 0]",
    "units 1": 'len(dimensionless_basis(SI.matrix(["m", "m/s", "kg m^-3", "kg m^-1 s^-1", "kg m s^-2"])))',
    "units 2": 'scaling_exponents(SI.matrix(["kg m^-3", "m", "s"]), ENERGY)',
    "units 3": "max(np.linspace(0.05, 1, 2000), key=lambda z: planck(np.array([[z * C * H / (KB * 5e3), 5e3, C, KB]]))[0])",
}
WRONG = {  # near misses
    "coarsening 1": "chosen.num_clusters**2",
    "coarsening 2": "max(risks, key=lambda size: risks[size].risk)",
    "coarsening 3": "chain(graph, num_clusters=[4, 9])",
    "variance 1": 'crossover_sample_size(theta, pairs, halves, sigma_xi=SIGMA_XI, estimator="constrained")',
    "variance 2": "1 - optimal_shrinkage(theta, halves, 20, sigma_xi=SIGMA_XI).factors[0]",
    "variance 3": "22.53125",
    "published 1": "1",
    "published 2": "1.0",
    "published 3": "[1]",
    "bounds 1": "filter_bound(grid, partitions[2], [1.0, 1.0])",
    "bounds 2": '["operator", "cut", "Frobenius"]',
    "bounds 3": "gains[120].mean() / gains[1].mean()",
    "custom 1": "144",
    "custom 2": "group",
    "custom 3": 'PairOrbits.of(grid_group((4, 3), "flips")).count',
    "pyg 1": "(20, 64, 1)",
    "pyg 2": '"layer"',
    "pyg 3": "GNet(TrivialGroup(64), 1, 8, 1)",
    "expressivity 1": "9",
    "expressivity 2": "range(12)",  # right, with too many labels
    "expressivity 3": "hexagon",
    "files 1": "selection.path_[0].difference / selection.path_[0].standard_error",  # as if the rows were others
    "files 2": "selection.merge_path_.best_partition",
    "files 3": "net(net.standardise(row.masked_fill(torch.arange(row.shape[1])[:, None] < 2, float('nan'))))[0, 0, 0]",  # units
    "units 1": "1",  # without the force
    "units 2": "(1, 5, 2)",
    "units 3": "0.354",  # per frequency
}


def run(path: Path) -> dict[str, list[str]]:
    """Execute a notebook, each exercise without an answer, with a wrong one and with the right one: what it said."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        found = re.search(r'check\("([^"]+)"', cell.source)
        if found and cell.cell_type == "code":
            answers = ("...", WRONG[found[1]], SOLUTIONS[found[1]])
            cell.source = "\n".join(cell.source.replace("answer = ...", f"answer = {answer}") for answer in answers)
        if cell.source.startswith("# Parameters"):
            cell.source += "\n" + QUICK.get(path.stem, "")
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}})
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"})
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    said: dict[str, list[str]] = {}
    for name, answer in re.findall(r"^(\w+ \d): (.*)$", printed, re.MULTILINE):
        said.setdefault(name, []).append(answer)
    return said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_tell_wrong_answers_from_right_ones(path: Path) -> None:
    said = run(path)
    assert len(said) == 3
    assert list(said.values()) == [["not answered yet", "not right, try again", "right"]] * 3, said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = notebook.cells
    question = cells[0].source.splitlines()[0]
    assert cells[0].cell_type == "markdown" and question.startswith("# ") and question.endswith("?")
    assert [cell.source.startswith("# Parameters") for cell in cells].index(True) == 1
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells), (
        "commit notebooks without outputs"
    )
    assert sum('check("' in cell.source for cell in cells) == 3
    assert path.stem in (ROOT / "README.md").read_text()


def test_every_exercise_has_a_right_and_a_wrong_answer() -> None:
    asked = {name for path in NOTEBOOKS for name in re.findall(r'check\("([^"]+)"', text_of(path).replace('\\"', '"'))}
    assert asked == set(SOLUTIONS) == set(WRONG) and len(asked) == 27


@pytest.fixture(scope="module")
def checks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("checks_of_the_notebooks", ROOT / "notebooks" / "checks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HALVES, GRAPH = ClusterGroup(Partition([0, 0, 1, 1])), Data(edge_index=torch.tensor([[0], [1]]), num_nodes=18)
GIVEN: dict[str, dict[str, Any]] = {
    "coarsening 1": {"partition": Partition([0, 0, 1])},
    "coarsening 2": {"risks": {1: 3.0, 4: 1.0, 9: 2.0}},
    "coarsening 3": {"graph": GRAPH},
    "variance 1": {"theta": torch.eye(4), "smaller": TrivialGroup(4), "larger": HALVES, "sigma_xi": 1.0},
    "variance 2": {"theta": torch.diag(torch.arange(4.0)), "group": HALVES, "n": 20, "sigma_xi": 1.0},
    "bounds 1": {"graph": torch.eye(4), "partition": Partition([0, 0, 1, 1]), "coefficients": [1.0, 1.0]},
    "bounds 3": {"errors": {1: 2.0, 8: 1.0}},
}


@pytest.mark.parametrize("exercise", SOLUTIONS)
@pytest.mark.parametrize("answer", ["x", None, 2.9, (3,), [], [Partition([0, 1])], torch.zeros(2, 2), float("nan")], ids=str)
def test_an_answer_of_another_kind_is_not_right(exercise: str, answer: Any, checks: ModuleType, capsys: Any) -> None:
    checks.check(exercise, answer, **GIVEN.get(exercise, {}))
    assert capsys.readouterr().out == f"{exercise}: not right, try again\n"


FINE, ODD = torch.arange(18) // 2, Partition(torch.arange(64) % 2)
RING = [[(i + 1) % 12 for i in range(12)], [-i % 12 for i in range(12)]]


@pytest.mark.parametrize(
    ("exercise", "right", "wrong"),
    [
        ("coarsening 1", 5, 5.9),
        ("coarsening 2", 4, 4.5),
        ("coarsening 3", [Partition(FINE // 3), Partition(FINE)], [Partition(torch.arange(9)), Partition(torch.arange(9) // 3)]),
        ("published 1", 0, 0.4),
        ("custom 1", 12, 12.9),
        ("custom 2", PermutationGroup(RING), PermutationGroup([[perm[i ^ 1] ^ 1 for i in range(12)] for perm in RING])),
        ("custom 3", 12, 12.9),
        ("pyg 3", GNet(ClusterGroup(ODD), 1, 8, 1), GNet(ClusterGroup(ODD), 1, 8, 3)),
        ("pyg 3", GNet(ClusterGroup(ODD), 1, 8, 1), GNet(ClusterGroup(Partition([0, 0, 1])), 1, 8, 1)),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_answer_to_another_question_is_not_right(exercise, right, wrong, checks, capsys) -> None:
    """Another graph, another ring, three channels out, a count that is not whole."""
    for answer in (right, wrong):
        checks.check(exercise, answer, **GIVEN.get(exercise, {}))
    assert capsys.readouterr().out == f"{exercise}: right\n{exercise}: not right, try again\n"


def test_a_net_is_left_as_it_was(checks: ModuleType) -> None:
    net = GNet(ClusterGroup(ODD), 1, 8, 1)
    checks.check("pyg 3", net)
    assert {each.dtype for each in net.parameters()} == {torch.float32}


def test_a_check_that_is_not_there_is_no_wrong_answer(checks: ModuleType) -> None:
    with pytest.raises(KeyError, match="custom 9"):
        checks.check("custom 9", 3)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_is_used(path: Path) -> None:
    first, *rest = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    names = re.findall(r"^([A-Z_]+) = ", first, re.MULTILINE)
    assert names
    assert [name for name in names if not re.search(rf"\b{name}\b", "\n".join(rest))] == []


def text_of(path: Path) -> str:
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
