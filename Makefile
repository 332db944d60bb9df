# Two commands for a start: `make demo` and `make test`. Needs python3 with pip, and make.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test soak check format lab bench colab clean

demo: .venv/demo ## run the first notebook on a rented (make-believe) GPU and print what it shows
	$(BIN)/gpuplug sandbox run --seed 7 -- $(BIN)/python notebooks/show.py notebooks/01_first_cell.ipynb

test: .venv/test ## run all tests; they mostly wait for real processes, so three workers fit on two cores
	$(BIN)/python -m pytest -n 3 --dist loadfile -rs

soak: .venv/test ## the money protocol in GP_SEEDS simulated lives (100000) from seed GP_FIRST on, or GP_PLAN once
	$(BIN)/python tests/sim/soak.py

check: .venv/test ## format, lint, types, layers, drawing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/check.py

format: .venv/test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python docs/check.py --write

lab: .venv/lab ## JupyterLab on the sandbox; containers have only root
	$(BIN)/gpuplug sandbox run --seed 7 -- $(BIN)/jupyter lab --notebook-dir notebooks --allow-root

bench: .venv/test ## speed, as ratios measured in one run; writes tests/bench/result.json
	$(BIN)/python tests/bench/run.py

colab: ## the notebooks with the package versions of a hosted notebook, and with the newest ones
	$(PYTHON) tests/colab/run.py

# Debian ships a python3 without ensurepip, whose own venv then fails half-way.
.venv/bin/python:
	rm -rf .venv
	{ $(PYTHON) -c 'import ensurepip' 2>/dev/null && $(PYTHON) -m venv .venv; } || { \
	  rm -rf .venv .venv-bootstrap && \
	  $(PYTHON) -m pip install -q --target .venv-bootstrap virtualenv && \
	  PYTHONPATH=.venv-bootstrap $(PYTHON) -m virtualenv -q .venv && \
	  rm -rf .venv-bootstrap; }

.venv/demo: pyproject.toml .venv/bin/python
	$(BIN)/python -m pip install -q -e '.[sandbox]' ipykernel nbclient matplotlib
	touch $@

.venv/test: pyproject.toml .venv/bin/python
	$(BIN)/python -m pip install -q -e '.[test]'
	touch $@

.venv/lab: pyproject.toml .venv/bin/python
	$(BIN)/python -m pip install -q -e '.[lab,sandbox]' matplotlib
	touch $@

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
