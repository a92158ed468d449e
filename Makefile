# make train   set up and train on digits, in one go
# make test    set up and run every check and test
# make format  put the code into shape

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/first-run

# Tests with real data run where the data sets lie; elsewhere they say why they are skipped.
export TENFOLD_DATA ?= $(abspath $(wildcard ../shared/data))

.PHONY: train test format clean

train: $(VENV)/installed
	rm -rf $(RUN)
	$(BIN)/tenfold train digits --recipe digits-quick --out $(RUN)
	@echo "a few test images, with their true classes:"
	@$(BIN)/tenfold predict $(RUN) --top 2

test: $(VENV)/installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest -n auto

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt src/tenfold/_version.py | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt src/tenfold/_version.py | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@
