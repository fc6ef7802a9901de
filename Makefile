# Everything runs from the environment in $(VENV), which is made on first use; nothing needs to be activated.
# Settings (make demo PYTHON=python3.12 ...):
#   PYTHON       the Python that makes the environment, 3.11 to 3.13
#   TORCH_INDEX  where torch comes from, e.g. https://download.pytorch.org/whl/cpu for the build without CUDA
#   GNET_DATA    folder of real data (mnist/, fashion-mnist/): tests that need it are skipped without it
#   JOBS         processes of a test run
#   NOTEBOOKS    off: build the documentation without executing the notebooks

VENV ?= .venv
PYTHON ?=
TORCH_INDEX ?=
JOBS ?= 2
DEMO ?= runs/demo
TESTS ?= tests

BIN := $(VENV)/bin
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TORCH_INDEX
export NOTEBOOKS ?= cache
# One thread per process: the processes share the cores, and sums keep their order.
export OMP_NUM_THREADS ?= 1
# Containers often set this; without compiled modules every process would compile all of torch that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test kernels lint build tables docs clean
.DELETE_ON_ERROR:

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.installed  ## install, then study the symmetries of inpainting 8 x 8 digits: a table and pictures in minutes
	$(BIN)/python train.py study --config configs/inpainting/digits.yaml --clusters 1 4 16 64 --seeds 2 --draws 5 --jobs $(JOBS) --out $(DEMO)
	@echo "Look at $(DEMO)/bias_variance.png (loss against symmetry) and $(DEMO)/outputs.png (inpainted images)."

test: $(VENV)/.installed-dev  ## install what is missing, then run every test and every example in a docstring
	$(BIN)/python -m pytest $(TESTS) -n $(JOBS) --durations=20

kernels: $(VENV)/.installed-dev  ## the optional kernel backends, torch-scatter and Triton: install where possible (minutes), then test
	VENV=$(VENV) JOBS=$(JOBS) .ci/kernels install
	VENV=$(VENV) JOBS=$(JOBS) .ci/kernels test

lint: $(VENV)/.installed-dev  ## style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

build: $(VENV)/.installed-dev  ## make sdist and wheel in dist/, then try the wheel in a bare environment outside the repository
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m pytest tests/test_build.py

tables: $(VENV)/.installed  ## write the tables of README.md again from configs/results/*.csv
	$(BIN)/python configs/tables.py

# Afresh every time: Sphinx forgets the warnings of pages that it does not read again.
docs: $(VENV)/.installed-docs  ## build the documentation into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx --builder html --fresh-env --fail-on-warning --keep-going --nitpicky --quiet docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:  ## remove what building and testing leave behind; environments and runs stay
	rm -rf build dist docs/_build docs/notebooks .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

# --- the environment -------------------------------------------------------------------------------------------------

SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

$(BIN)/python:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
	    if "$$python" -c '$(SUITABLE)' 2>/dev/null; then \
	        echo "Making $(VENV) with $$("$$python" --version) ($$(command -v "$$python"))"; \
	        "$$python" -m venv $(VENV) && exit 0; \
	        echo "$$python -m venv failed, see above (Debian and Ubuntu keep it in a package of its own: python3-venv)" >&2; exit 1; \
	    fi; \
	done; \
	echo "No Python 3.11 to 3.13 found among: $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)." >&2; \
	echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1

NO_TORCH = "No torch from $(TORCH_INDEX): can that index be reached? Without TORCH_INDEX torch comes from PyPI: make $(MAKECMDGOALS)"

# Stamps inside the environment: an install is repeated when it is new, or when the list of packages changed.
# Compiling every module of torch would take longer than all the rest; Python compiles what is imported.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --no-compile --index-url $(TORCH_INDEX) torch || { echo $(NO_TORCH) >&2; exit 1; })
	$(BIN)/python -m pip install --no-compile --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --no-compile --editable '.[dev,igraph,metis,ray]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --no-compile --editable '.[docs]'
	@touch $@
