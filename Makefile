# Every target does its own set-up on a machine that has only Python (with venv) and make.
#   make demo    predict with the bundled models         make test    run the tests
#   make lint    format, lint, layers, types             make oldest  try the oldest versions allowed
#   make bench   measure speed and memory against others; takes an hour
#   make clean   remove what these made

PYTHON ?= python3
# The versions the project is tested with; `make TORCH="torch torchvision"` takes others.
TORCH ?= torch==2.14.1 torchvision==0.29.1
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development
OLDEST := .venv-oldest
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.PHONY: demo test test-all lint oldest bench clean
.DEFAULT_GOAL := demo

demo: $(RUNTIME)
	$(BIN)/mask2former predict src/mask2former/demo/cells --model nuclei --output demo/cells
	$(BIN)/mask2former predict src/mask2former/demo/street --model street --output demo/street

test: $(DEVELOPMENT)
	$(PYTEST) -m "not slow"

test-all: $(DEVELOPMENT)
	$(PYTEST)

lint: $(DEVELOPMENT)
	$(BIN)/ruff format --check src tests tools benchmarks examples
	$(BIN)/ruff check src tests tools benchmarks examples
	$(BIN)/lint-imports
	$(BIN)/pyrefly check

# Needs Python 3.11 or 3.12, for which the oldest versions were made. Only the core's tests: others
# need oracles, which ask for newer versions. Old versions warn of new ones, so warnings
# are no errors here.
oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/mask2former doctor
	$(OLDEST)/bin/mask2former predict src/mask2former/demo/cells --model nuclei --output demo/oldest
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -q -m "not slow" --disable-warnings \
		-o filterwarnings=default tests/test_imports.py tests/test_cli.py tests/loss \
		tests/engine/test_train.py tests/engine/test_predict.py \
		tests/model/kernels/test_compiled.py tests/model/kernels/test_convolutions.py \
		tests/model/kernels/test_folding.py tests/model/kernels/test_hasten.py \
		tests/model/kernels/test_onednn.py tests/model/kernels/test_winograd.py

bench: $(DEVELOPMENT)
	$(BIN)/python benchmarks/table.py
	$(BIN)/python benchmarks/growth.py

clean:
	rm -rf $(VENV) $(OLDEST) demo build dist .pytest_cache .ruff_cache .import_linter_cache

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

$(OLDEST)/.installed: pyproject.toml tools/oldest.py
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) tools/oldest.py fast > $(OLDEST)/pins.txt
	$(OLDEST)/bin/python -m pip install --quiet --requirement $(OLDEST)/pins.txt pytest
	$(OLDEST)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@
