# Everything here needs Python 3.11 or newer and make; each target installs what it uses into .venv.

PYTHON ?= python3
WORKDIR ?= runs/quickstart
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder
DIST ?= dist
FUZZ_ARGS ?= --count 1000 --seed 0
CHAOS_ARGS ?= --kills 20 --seed 0

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
REQUIREMENTS := setup.cfg constraints.txt

.DEFAULT_GOAL := help
# Two installations at once would spoil the environment.
.NOTPARALLEL:
.PHONY: help quickstart test test-torch test-extras test-latest fuzz chaos lint docs dist bench clean

help:
	@echo "make quickstart   train and restore in a few minutes on a CPU (WORKDIR=$(WORKDIR))"
	@echo "make test         run the tests, those against PyTorch left out (PYTEST_ARGS=$(PYTEST_ARGS))"
	@echo "make test-torch   install PyTorch and run the tests against it"
	@echo "make test-extras  install what the extras need and run their tests, some in Chromium"
	@echo "make test-latest  install the newest versions of all libraries and run the tests with them"
	@echo "make fuzz         restore a thousand damaged and exotic files (FUZZ_ARGS=$(FUZZ_ARGS))"
	@echo "make chaos        kill the quickstart at random and compare its end (CHAOS_ARGS=$(CHAOS_ARGS))"
	@echo "make lint         check style, format and types"
	@echo "make docs         run the tutorials and build the documentation in build/site"
	@echo "make dist         build the wheel and the sdist in DIST, and check what is in them (DIST=$(DIST))"
	@echo "make bench        run the benchmarks"
	@echo "make clean        remove the environment, the caches and the built packages (runs/ stays)"
	@echo "Set PYTHON=python3.x to choose the interpreter the environment is made with."

quickstart: $(VENV)/.installed-test
	$(BIN)/python -m dgunet_jax.main --config configs/quickstart.py --workdir $(WORKDIR)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST_ARGS) --ignore=tests/torch --ignore=tests/extras

test-torch: $(VENV)/.installed-torch
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/torch

test-extras: $(VENV)/.installed-extras
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/extras

# Without constraints.txt, in an environment of its own.
test-latest:
	$(PYTHON) -m venv --clear $(VENV)-latest
	$(VENV)-latest/bin/python -m pip install --disable-pip-version-check --quiet -e '.[test]'
	$(VENV)-latest/bin/python -m pytest $(PYTEST_ARGS) --ignore=tests/torch --ignore=tests/extras

chaos: $(VENV)/.installed-test
	$(BIN)/python -m tests.training.chaos $(CHAOS_ARGS)

fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.fuzz.restoring $(FUZZ_ARGS)

# PyTorch and the extras are installed too: the type checker reads the imports of what uses them.
lint: $(VENV)/.installed-dev $(VENV)/.installed-extras $(VENV)/.installed-torch
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

# Runs the tutorials on the way. The variable turns off an announcement of Material for MkDocs.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

dist: $(VENV)/.installed-dev
	rm -rf $(DIST) build/lib build/bdist.*
	$(BIN)/python -m build --no-isolation --outdir $(DIST) .
	$(BIN)/python -m twine check --strict $(DIST)/*
	$(BIN)/python -m tests.distribution $(DIST)

bench: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.restoring
	$(BIN)/python -m benchmarks.loading

clean:
	rm -rf $(VENV) $(VENV)-latest .cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing venv installs, so a half-made environment is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) must be Python 3.11 or newer; choose another with make PYTHON=python3.x" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

# Without build isolation the package is built by the setuptools of constraints.txt.
$(VENV)/.installed-test: $(REQUIREMENTS) | $(BIN)/pip
	$(PIP_INSTALL) setuptools
	$(PIP_INSTALL) --no-build-isolation -e '.[test]'
	@touch $@

# On Linux, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares the download of CUDA.
$(VENV)/.installed-torch: $(VENV)/.installed-test
	$(PIP_INSTALL) --no-build-isolation -e '.[test-torch]'
	@touch $@

$(VENV)/.installed-extras: $(VENV)/.installed-test
	$(PIP_INSTALL) --no-build-isolation -e '.[test-extras]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(PIP_INSTALL) --no-build-isolation -e '.[dev]'
	@touch $@
