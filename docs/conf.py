"""How Sphinx builds this site: ``make docs``, every warning is an error, and nothing is read from the network."""

import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.typing import stringify_annotation

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# The repository's ``datasets`` before any other package of that name, and the two extensions beside this file.
sys.path[:0] = [str(ROOT), str(DOCS)]

import docstrings  # noqa: E402  (found by the path above)
import rooms  # noqa: E402

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = "gnet"
author = copyright = PYPROJECT["authors"][0]["name"]
version = release = PYPROJECT["version"]
extensions = ["sphinx.ext.autodoc", "myst_nb"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
html_theme = "furo"
html_title = f"gnet {version}"
html_copy_source = False
highlight_language = "none"  # indented blocks are commands and formulas; Python says that it is Python

# --- docstrings ---

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": "set_fit_request, set_predict_request, set_score_request",  # made by scikit-learn
}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
NAPOLEON = Config(
    napoleon_use_ivar=True, napoleon_use_rtype=False, napoleon_custom_sections=["Shapes", "Units", "Shapes and units"]
)
ARRAYS = {
    stringify_annotation(ArrayLike, "smart"): "~numpy.typing.ArrayLike",
    stringify_annotation(NDArray[np.float64], "smart"): "~numpy.typing.NDArray[~numpy.float64]",
    stringify_annotation(NDArray[np.int64], "smart"): "~numpy.typing.NDArray[~numpy.int64]",
}


def lay_out(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Autodoc's hook: convert the docstrings of our own packages, and let napoleon lay out their sections."""
    if what == "data" and name.split(".")[0] in ("gnet", "datasets"):
        lines[:] = rooms.note_below(name)  # not the docstring of its class
    if name.split(".")[0] in ("gnet", "datasets"):
        # Not told that it is a property: napoleon would take "First line: text" of one for a type and a text.
        lines[:] = GoogleDocstring(docstrings.convert(lines), NAPOLEON).lines()


def shorten(app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, returns: str) -> tuple[str, str]:
    """Autodoc's hook: the unions that numpy's array types stand for, under their names."""
    for long, short in ARRAYS.items():
        signature, returns = (text and text.replace(long, short) for text in (signature, returns))
    return signature, returns


# --- references ---

nitpicky = True
# What other packages document on sites of their own, which an offline build cannot look up.
nitpick_ignore_regex = [
    ("py:class", r"(?!gnet\.|datasets\.)\w+\..*"),
    # the same, in annotations that are text
    ("py:class", "Tensor|Data|ArrayLike|ArgumentParser|Axes|Figure|Fraction|Irreps|Metric|Part"),
    ("py:class", r"gnet\.study\.(pool\.(Task|Result)|simulate\.Part)"),  # type variables
    ("py:class", r"gnet\.groups\.(automorphism\._Coloured|search\.Level)"),  # what the search hands to the group it finds
]

# --- Markdown and notebooks ---

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = os.environ.get("NOTEBOOKS", "cache")  # "off" leaves out what a notebook would print
nb_execution_cache_path = str(DOCS / "_build" / "notebooks")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_kernel_rgx_aliases = {".*": "python3"}  # whatever the kernel was called on the author's machine
nb_merge_streams = True

# Pages made of files at the root: links between those files lead to the pages.
PAGE_OF = {
    "README.md": "index",
    "CONVENTIONS.md": "conventions",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "configs/README.md": "configs",
    "datasets/README.md": "data",
    "benchmarks/RESULTS.md": "benchmarks",
}
A_FILE = re.compile(r"(?<!`)`((?:tests|configs)/[\w/]+\.(?:py|yaml))((?:::\w+)*)`(?!`)")


def relink(app: Sphinx, path: Path, docname: str, content: list[str]) -> None:
    """Lead the links of an included file to pages of the site, or to a copy of the file."""

    def target(match: re.Match[str]) -> str:
        text, where = match[1], match[2]
        if where in PAGE_OF:
            return f"[{text}](/{PAGE_OF[where]}.md)"
        if where.startswith("notebooks/"):
            return f"[{text}](/{where})"
        if where.startswith("docs/"):  # pages of the site, and pictures
            return f"[{text}](/{where.removeprefix('docs/')})"
        return f"{{download}}`{text} <../{where}>`" if (ROOT / where).is_file() else match[0]

    content[0] = re.sub(r"\[([^\]]+)\]\(([^)\s:]+)\)", target, content[0])


def link_files(app: Sphinx, docname: str, content: list[str]) -> None:
    """Where a page of our own names a test or a config, offer the file."""
    if docname == "notebooks" and not (DOCS / "notebooks").is_dir():
        content[0] = content[0].partition("```")[0] + "None yet.\n"
    if Path(app.env.doc2path(docname)).suffix == ".md":
        content[0] = A_FILE.sub(lambda match: f"{{download}}`{match[1]}{match[2]} <../{match[1]}>`", content[0])


def copy_notebooks() -> list[str]:
    """Bring the notebooks into the source folder, where Sphinx can see them; the names of those with stored outputs."""
    source, target = ROOT / "notebooks", DOCS / "notebooks"
    wanted = {path.name: path for path in sorted(source.glob("*.ipynb"))}
    for path in target.glob("*.ipynb"):
        if path.name not in wanted:
            path.unlink()
    if not wanted and target.is_dir():
        shutil.rmtree(target)
    shown = []
    for name, path in wanted.items():
        target.mkdir(exist_ok=True)
        copy = target / name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():  # an unchanged one is not built again
            shutil.copyfile(path, copy)
        if any(cell.get("outputs") for cell in json.loads(path.read_text())["cells"]):
            shown.append(name)
    return shown


nb_execution_excludepatterns = copy_notebooks()  # with stored outputs: shown as they are


def setup(app: Sphinx) -> None:
    """Connect the parts that are our own."""
    app.connect("include-read", relink)
    app.connect("source-read", link_files)
    app.connect("autodoc-process-docstring", lay_out)
    app.connect("autodoc-process-signature", shorten)
    rooms.setup(app)
