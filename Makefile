# make train   set up and train on digits
# make test    set up and run every check and test
# make soak    kill runs, take away their displays, fail their writes, fuzz the kernels, load real
#              images and run all cases of the tests; set KILLS, INSTANTS and MINUTES
# make format  format the code
#
# PIP_ARGS="..." is passed on to pip. If an environment other than .venv is active and has PyTorch,
# tenfold is installed there, beside the versions that it has; otherwise in .venv, with the versions
# in constraints.txt.

PYTHON ?= python3
PIP_ARGS ?=

ACTIVE := $(filter-out $(realpath .venv),$(realpath $(or $(VIRTUAL_ENV),$(CONDA_PREFIX))))
answers = $(shell "$(1)/bin/python" $(2) > /dev/null 2>&1 && echo yes)
HAS_TORCH := -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'
ifneq ($(and $(ACTIVE),$(call answers,$(ACTIVE),$(HAS_TORCH))),)
VENV := $(ACTIVE)
CONSTRAINTS :=
else
VENV := .venv
CONSTRAINTS := -c constraints.txt
endif
BIN := $(VENV)/bin
RUN := $(VENV)/tenfold-first-run
# An environment made by uv has no pip.
WITHOUT_PIP := $(and $(wildcard $(BIN)/python),$(if $(call answers,$(VENV),-m pip),,yes))
INSTALL := $(if $(WITHOUT_PIP),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install)
NEEDS_UV := command -v uv > /dev/null || \
	{ echo "$(VENV) has no pip: install uv, or make the environment anew" >&2; exit 1; }

# Tests on real data run if there are data sets in a folder `data` of a neighbor of this one;
# otherwise they are skipped with a reason, but `make soak` fails.
export TENFOLD_DATA ?= $(patsubst %/MNIST,%,$(firstword $(abspath $(wildcard ../*/data/MNIST))))

# The sources of the libraries: when they change, tenfold is reinstalled.
NATIVE := src/tenfold/native
KERNELS := setup.py $(NATIVE)/built.py $(NATIVE)/compiling.py $(wildcard $(NATIVE)/source/*)
CPP := $(wildcard $(NATIVE)/source/*.cpp $(NATIVE)/source/*.h tests/native/*.cpp)

KILLS ?= 1000
INSTANTS ?= 20
MINUTES ?= 30
THOROUGH = $(shell grep -l thoroughness -r tests --include='test_*.py')

.PHONY: train test soak format clean FORCE

train: $(VENV)/tenfold-installed
	rm -rf $(RUN)
	$(BIN)/tenfold train digits --recipe digits-quick --out $(RUN)
	@echo "predictions for a few test images, with their true classes:"
	@$(BIN)/tenfold predict $(RUN) --top 2
	@echo "to see what it learned and what it gets wrong, open: $(RUN)/report.html"
	@echo "to draw digits on a page: $(BIN)/tenfold serve $(RUN)"
	@echo "to run tenfold commands in this terminal, type first: . $(BIN)/activate"

test: $(VENV)/tenfold-installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pytest -n auto

soak: $(VENV)/tenfold-installed-dev
	$(BIN)/python tests/soak/kill.py --kills $(KILLS)
	$(BIN)/python tests/soak/displays.py --instants $(INSTANTS)
	TENFOLD_SOAK=1 $(BIN)/pytest $(THOROUGH)
	$(BIN)/python tests/soak/fuzz_kernels.py --minutes $(MINUTES)
	$(BIN)/pytest -v tests/soak/real_archive.py

format: $(VENV)/tenfold-installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	@if command -v clang-format; then clang-format -i $(CPP); \
	else echo "clang-format is not installed, so the C++ sources are left unchanged"; fi

clean:
	rm -rf .venv $(NATIVE)/libraries build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What is installed names the project's folder: several may use one environment in turn.
BUILT := $(NATIVE)/libraries/built.json
stale = $(if $(and $(filter $(CURDIR),$(shell cat $(1) 2> /dev/null)),$(wildcard $(BUILT))),,FORCE)
SOURCES := pyproject.toml constraints.txt src/tenfold/_version.py $(KERNELS)

$(VENV)/tenfold-installed: $(SOURCES) $(call stale,$(VENV)/tenfold-installed) | $(BIN)/python
	@$(if $(WITHOUT_PIP),$(NEEDS_UV))
	$(INSTALL) $(PIP_ARGS) $(CONSTRAINTS) -e ".[serve]"
	grep -qsx "$(CURDIR)" $(VENV)/tenfold-installed-dev || rm -f $(VENV)/tenfold-installed-dev
	echo "$(CURDIR)" > $@

$(VENV)/tenfold-installed-dev: $(SOURCES) $(call stale,$(VENV)/tenfold-installed-dev) | $(BIN)/python
	@$(if $(WITHOUT_PIP),$(NEEDS_UV))
	$(INSTALL) $(PIP_ARGS) $(CONSTRAINTS) -e ".[dev]"
	grep -qsx "$(CURDIR)" $(VENV)/tenfold-installed || rm -f $(VENV)/tenfold-installed
	echo "$(CURDIR)" > $@

FORCE:
