# make train   set up and train on digits
# make test    set up and run every check and test
# make soak    kill runs, fuzz the kernels and load real images; set KILLS and MINUTES
# make format  format the code

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/first-run

# Tests on real data run if the data sets are there; otherwise they are skipped with a reason, but
# `make soak` fails.
export TENFOLD_DATA ?= $(abspath $(wildcard ../shared/data))

# The sources of the libraries: when they change, tenfold is reinstalled.
NATIVE := src/tenfold/native
KERNELS := setup.py $(NATIVE)/built.py $(NATIVE)/compiling.py $(wildcard $(NATIVE)/source/*)
CPP := $(wildcard $(NATIVE)/source/*.cpp $(NATIVE)/source/*.h tests/native/*.cpp)

KILLS ?= 1000
MINUTES ?= 30

.PHONY: train test soak format clean

train: $(VENV)/installed
	rm -rf $(RUN)
	$(BIN)/tenfold train digits --recipe digits-quick --out $(RUN)
	@echo "predictions for a few test images, with their true classes:"
	@$(BIN)/tenfold predict $(RUN) --top 2
	@echo "to run tenfold commands in this terminal, type first: . $(BIN)/activate"

test: $(VENV)/installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest -n auto

soak: $(VENV)/installed-dev
	$(BIN)/python tests/soak/kill.py --kills $(KILLS) --engine torch
	$(BIN)/python tests/soak/kill.py --kills $(KILLS) --engine native
	$(BIN)/python tests/soak/fuzz_kernels.py --minutes $(MINUTES)
	$(BIN)/pytest -v tests/soak/real_archive.py

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	@if command -v clang-format; then clang-format -i $(CPP); \
	else echo "clang-format is not installed, so the C++ sources are left unchanged"; fi

clean:
	rm -rf $(VENV) $(NATIVE)/libraries build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt src/tenfold/_version.py $(KERNELS) | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt src/tenfold/_version.py $(KERNELS) | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@
