"""The site without building it: every public name is in the reference, the code on its pages runs, what they name exists."""

import ast
import builtins
import doctest
import importlib.util
import inspect
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ForwardRef, Literal, get_args, get_origin

import pytest
import torch

import gnet

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
WITH_CODE = [path for path in PAGES if "```python" in path.read_text()]
FENCE = re.compile(r"```(python|console)\n(.*?)```", re.DOTALL)
NAMED = re.compile(r"`((?:tests|configs|notebooks|benchmarks|datasets)/[\w/.]+)((?:::\w+)*)`")


@pytest.fixture(scope="module")
def rooms() -> Iterator[ModuleType]:
    """docs/rooms.py, which is in no package, with the repository's ``datasets`` under that name, as when the site is built."""
    from gnet.training.data import repository_datasets

    before = sys.modules.get("datasets")
    sys.modules["datasets"] = repository_datasets()
    spec = importlib.util.spec_from_file_location("docs_rooms", DOCS / "rooms.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["datasets"]
    if before is not None:
        sys.modules["datasets"] = before


# --- the reference ---


def test_every_public_name_is_in_the_reference(rooms):
    assert rooms.missing(rooms.documented(rooms.pages())) == []


def test_every_room_has_a_page_that_is_listed(rooms):
    index = (DOCS / "reference" / "index.rst").read_text()
    pages = {path.stem for path in (DOCS / "reference").glob("*.rst")} - {"index"}
    assert pages == set(re.findall(r"^   (\w+)$", index, re.MULTILINE))


def test_the_page_of_gnet_lists_its_names(rooms):
    assert ".. names:: gnet\n" in (DOCS / "reference" / "gnet.rst").read_text()
    assert {rooms.home_of(name).rpartition(".")[2] for name in gnet.__all__} == set(gnet.__all__)


@pytest.mark.parametrize(
    ("there", "instead", "lost"),
    [
        (".. automodule:: gnet.graphs\n", "", "gnet.graphs: Partition"),
        (".. automodule:: gnet.theory\n", ".. automodule:: gnet.theory\n   :exclude-members: Split\n", "gnet.theory: Split"),
        (".. automodule:: gnet.nn\n", ".. automodule:: gnet.nn\n   :no-members:\n", "gnet: EquivariantLinear"),
        (".. modules:: gnet.study\n", "", "gnet.study: gnet.study.run.run_study"),
        (".. modules:: datasets\n", "", "datasets: datasets.mnist.MNIST"),
    ],
)
def test_a_page_that_leaves_a_name_out_is_caught(rooms, there, instead, lost):
    pages = rooms.pages()
    lying = [page.replace(there, instead) for page in pages]
    assert lying != pages
    assert lost in rooms.missing(rooms.documented(lying))


def test_a_lazy_name_that_dir_does_not_list_is_caught(rooms, monkeypatch):
    monkeypatch.setattr("gnet.theory.__dir__", lambda: ["Split"])
    assert "gnet.theory: EquivariantRidge" in rooms.missing(rooms.documented(rooms.pages()))


def test_a_new_name_needs_no_edit(rooms, monkeypatch):
    monkeypatch.setattr("gnet.measures.__all__", ["brand_new"])
    monkeypatch.setattr("gnet.measures.brand_new", len, raising=False)
    assert "gnet.measures.brand_new" in rooms.documented(rooms.pages())


def test_examples_of_the_reference(rooms):
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(rooms):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


# --- types in the signatures that the reference shows: Sphinx warns of those that have no place in it ---


def known_elsewhere() -> str:
    """What docs/conf.py, which only Sphinx can import, says of types that need no place."""
    settings = [node for node in ast.parse((DOCS / "conf.py").read_text()).body if isinstance(node, ast.Assign)]
    [ignored] = [node.value for node in settings if getattr(node.targets[0], "id", None) == "nitpick_ignore_regex"]
    return "|".join(f"(?:{pattern})" for kind, pattern in ast.literal_eval(ignored) if kind == "py:class")


def annotated(value: Any) -> Iterator[Any]:
    """What has a signature: a function, or a class and those of its own methods and properties that have a docstring."""
    if not inspect.isclass(value):
        yield value
        return
    yield value.__init__
    for name, member in vars(value).items():
        plain = getattr(member, "fget", None) or getattr(member, "func", None) or inspect.unwrap(member)
        if not name.startswith("_") and getattr(plain, "__doc__", None) and hasattr(plain, "__annotations__"):
            yield plain


def types_in(annotation: Any, module: ModuleType) -> Iterator[type | str]:
    """The classes in it; of those that are imported for the type checker alone the name."""
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        for name in {node.id for node in ast.walk(ast.parse(annotation)) if isinstance(node, ast.Name)}:
            found = getattr(module, name, getattr(builtins, name, None))
            yield from [name] if found is None else types_in(found, module)
    elif get_origin(annotation) is not None:
        if get_origin(annotation) is not Literal:
            for each in (get_origin(annotation), *get_args(annotation)):
                yield from types_in(each, module)
    elif isinstance(annotation, list):
        for each in annotation:
            yield from types_in(each, module)
    elif inspect.isclass(annotation):
        yield annotation


def strangers(names: Iterable[str]) -> list[str]:
    """Types in the signatures of documented names that are neither documented nor known elsewhere."""
    values = {name: getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names}
    # A name that is imported for the type checker alone is looked up as text, by its last part.
    ignored = re.compile(known_elsewhere())
    has_place, wrong = {id(value) for value in values.values()} | {name.rpartition(".")[2] for name in values}, set()
    for name, value in values.items():
        for each in annotated(value):
            module = sys.modules.get(getattr(each, "__module__", None) or "", builtins)
            for annotation in getattr(each, "__annotations__", {}).values():
                for kind in types_in(annotation, module):
                    full = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
                    if has_place.isdisjoint({kind, id(kind)}) and not ignored.fullmatch(full):
                        wrong.add(f"{name}: {full}")
    return sorted(wrong)


def test_types_in_signatures_are_in_the_reference(rooms):
    assert strangers(rooms.documented(rooms.pages())) == []


def test_a_type_without_a_place_is_caught(rooms):
    """Of an argument that may be None, of a function that returns one, and in a list of them."""
    found = strangers(rooms.documented(rooms.pages()) - {"gnet.theory.Solver", "gnet.theory.BiasEstimate"})
    assert "gnet.theory.EquivariantRidge: gnet.theory.solvers.Solver" in found
    assert "gnet.theory.estimate_bias: gnet.theory.estimates.BiasEstimate" in found
    assert "gnet.theory.select_group: gnet.theory.estimates.BiasEstimate" in found


# --- docstrings as Sphinx reads them ---


@pytest.fixture
def docstrings(rooms, monkeypatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "rooms", rooms)
    spec = importlib.util.spec_from_file_location("docs_docstrings", DOCS / "docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_plain_text_mathematics_is_escaped(docstrings):
    assert docstrings.escape("|a * b| and sum_(j) x_i, see ``(*, N)`` *here*") == (
        r"\|a \* b\| and sum\_(j) x_i, see ``(*, N)`` *here*"
    )
    assert docstrings.escape("as ``ClusterGroup``") == "as :py:obj:`~gnet.groups.ClusterGroup`"


def test_sections_of_a_docstring(docstrings):
    text = [
        "Sum.",
        "",
        "    x * y",
        "",
        "Shapes:",
        "    x: (*, N)",
        "",
        "Units: those of x.",
        "",
        "Raises:",
        "    ShapeError, B: no.",
    ]
    made = docstrings.convert(text)
    assert made[:5] == ["Sum.", "", "::", "", "        x * y"]
    assert made[6:10] == ["Shapes:", "    ::", "", "        x: (*, N)"]
    assert made[made.index("Units:") + 1] == "    those of x."
    assert made[made.index("Raises:") + 1 :][:2] == ["    ~gnet.errors.ShapeError: no.", "    B: no."]


# --- the pages ---


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each block."""
    return FENCE.findall(page.read_text())


def run_page(page: list[tuple[str, str]], folder: Path) -> str:
    """Run the Python blocks one after the other, as a reader would, and the commands; what they print where they should not."""
    names: dict = {"__name__": "page"}
    parser, report = doctest.DocTestParser(), []
    for number, (language, text) in enumerate(page):
        if language == "console":
            for line in text.splitlines():
                run_command(shlex.split(line), folder)
        elif text.startswith(">>>"):
            test = parser.get_doctest(text, names, f"block {number}", None, 0)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
            runner.run(test, out=report.append, clear_globs=False)
            names = test.globs
        else:
            if file := re.match(r"# (\w+\.py)\n", text):
                (folder / file[1]).write_text(text)
            exec(compile(text, f"block {number}", "exec"), names)
    return "".join(report)


def run_command(words: list[str], folder: Path) -> None:
    """A command of a page, for one epoch or by the quick settings of its config."""
    from gnet.cli import main

    assert words[:2] == [".venv/bin/python", "train.py"]
    more = {"fit": ["--trainer.max_epochs=1", f"--trainer.default_root_dir={folder}"], "simulate": ["--quick"]}
    given = [str(ROOT / word) if word.startswith("configs/") else word for word in words[2:]]
    assert main([*given, *more[words[2]]]) == 0


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda path: path.name)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        report = run_page(blocks(page), tmp_path)
    if report:
        pytest.fail(report, pytrace=False)


def test_a_page_that_lies_is_caught(tmp_path):
    assert "Expected:" in run_page([("python", "x = 1\n"), ("python", ">>> x + 1\n3\n")], tmp_path)


def test_pages_have_code():
    assert {"add_a_group.md", "bounds.md", "estimators.md"} <= {path.name for path in WITH_CODE}
    languages = {language for path in PAGES for language in re.findall(r"^```(\w+)$", path.read_text(), re.MULTILINE)}
    assert languages <= {"python", "console"}, "another language needs a way to be tested"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_a_page_names_exists(page):
    assert wrong_names(page.read_text()) == []


def wrong_names(text: str) -> list[str]:
    """Files, and tests in them, that are named and not there."""
    wrong = []
    for file, inside in NAMED.findall(text):
        path = ROOT / file
        if file == "notebooks/" or path.is_dir():
            continue
        if not path.is_file():
            wrong.append(file)
        elif inside and not is_id(ast.parse(path.read_text()), inside.split("::")[1:]):
            wrong.append(f"{file}{inside}")
    return wrong


def is_id(tree: ast.AST, names: list[str]) -> bool:
    """Whether a test is there under these names: a function of the file, or of a class of the file."""
    if not names:
        return True
    inside = [node for node in ast.iter_child_nodes(tree) if getattr(node, "name", None) == names[0]]
    return any(is_id(node, names[1:]) for node in inside)


def headings(page: str) -> set[str]:
    """The anchors of a page, or of the file that it includes."""
    text = (DOCS / page).read_text()
    text += "".join((DOCS / each).read_text() for each in re.findall(r"```{include} (\S+)", text))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def lost_anchors(text: str) -> list[str]:
    """Links to headings of pages that have no such heading."""
    links = re.findall(r"\]\((\w+\.md)#([\w-]+)\)", text)
    return [f"{page}#{anchor}" for page, anchor in links if anchor not in headings(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_headings(page):
    assert lost_anchors(page.read_text()) == []


def test_a_link_to_no_heading_is_caught():
    assert lost_anchors("[a](bounds.md#a-simulation) [b](bounds.md#two-simulations)") == ["bounds.md#two-simulations"]


def test_a_page_that_names_what_is_not_there_is_caught():
    assert wrong_names("`tests/no.py` `tests/test_docs.py::test_nothing`") == ["tests/no.py", "tests/test_docs.py::test_nothing"]
    inside, outside = "tests/nn/test_gnet.py::TestNothing::test_x", "tests/theory/test_coarsening.py::test_grid"  # of a class
    assert wrong_names(f"`{inside}` `{outside}`") == [inside, outside]
    assert wrong_names("`tests/theory/test_coarsening.py::TestCheckValues::test_grid`") == []
