# Every target does its own set-up on a machine that has only Python (with venv) and make.
#   make demo    predict on the bundled pictures         make test    run the tests
#   make lint    format, lint, layers, types             make clean   remove what these made

PYTHON ?= python3
# The versions the project is tested with; `make TORCH="torch torchvision"` takes others.
TORCH ?= torch==2.14.1 torchvision==0.29.1
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.PHONY: demo test test-all lint clean
.DEFAULT_GOAL := demo

demo: $(RUNTIME)
	$(BIN)/mask2former predict src/mask2former/demo --model nuclei --output demo

test: $(DEVELOPMENT)
	$(PYTEST) -m "not slow"

test-all: $(DEVELOPMENT)
	$(PYTEST)

lint: $(DEVELOPMENT)
	$(BIN)/ruff format --check src tests tools
	$(BIN)/ruff check src tests tools
	$(BIN)/lint-imports
	$(BIN)/pyrefly check

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .ruff_cache .import_linter_cache

# The stamps depend on pyproject.toml: what is installed is installed again only when that changes.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml | $(BIN)/python
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet --editable ".[fast]"
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	$(PIP) install --quiet --editable ".[dev,fast]"
	@touch $@
