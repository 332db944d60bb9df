# Two commands for a start: `make demo` and `make test`. Needs python3 with pip, and make.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The front end is checked and built where there is npm; elsewhere its tests are skipped and counted.
NPM := $(shell command -v npm)
SOURCES := $(shell find labextension/src labextension/style labextension/schema labextension/tests -type f) $(wildcard labextension/*.json labextension/*.mjs labextension/*.ts)
PANEL := src/gpuplug/static/panel.js
FRONT := $(if $(NPM),$(PANEL))
FRONT_CHECKED := $(if $(NPM),labextension/node_modules/.checked)

.PHONY: demo test soak soak-ssh check format front lab bench colab clean

demo: .venv/demo ## run the first notebook on a rented (make-believe) GPU and print what it shows
	$(BIN)/gpuplug sandbox run --seed 7 -- $(BIN)/python notebooks/show.py notebooks/01_first_cell.ipynb

test: .venv/test $(FRONT) $(FRONT_CHECKED) ## run all tests; they mostly wait for real processes, so three workers fit on two cores
	$(BIN)/python -m pytest -n 3 --dist loadfile -rs --ignore=tests/ui
	$(BIN)/python -m pytest -rs --confcutdir=tests/ui tests/ui
	GP_SEEDS=20000 $(BIN)/python tests/sim/soak.py

soak: .venv/test ## the money protocol in GP_SEEDS simulated lives (1000000) from seed GP_FIRST on, or GP_PLAN once
	$(BIN)/python tests/sim/soak.py

soak-ssh: .venv/test ## GP_LIVES lives (500, three quarters of an hour) of machines with the real sshd and the real switch, from seed GP_FIRST on
	$(BIN)/python tests/soak_ssh.py

check: .venv/test $(FRONT_CHECKED) ## format, lint, types, layers, drawing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/check.py

format: .venv/test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python docs/check.py --write

front: $(PANEL) ## build the panel and JupyterLab's extension

$(PANEL): $(SOURCES) labextension/node_modules/.package-lock.json .venv/test
	rm -rf src/gpuplug/labextension
	cd labextension && PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent build

# Types and unit tests, again only after a change.
labextension/node_modules/.checked: $(SOURCES) labextension/node_modules/.package-lock.json
	cd labextension && npm run --silent check && npm test --silent
	touch $@

labextension/node_modules/.package-lock.json: labextension/package-lock.json
	cd labextension && npm ci --silent --prefer-offline
	touch $@

lab: .venv/lab $(FRONT) ## JupyterLab on the sandbox; containers have only root
	mkdir -p .venv/share/jupyter/labextensions
	$(if $(NPM),ln -sfn $(CURDIR)/src/gpuplug/labextension .venv/share/jupyter/labextensions/gpuplug)
	$(BIN)/gpuplug sandbox run --seed 7 -- $(BIN)/jupyter lab --notebook-dir notebooks --allow-root

bench: .venv/test $(FRONT) ## speed, as ratios measured in one run; writes tests/bench/result.json
	$(BIN)/python tests/bench/run.py

colab: ## the notebooks and the panel with the package versions of a hosted notebook, and with the newest ones
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
	rm -rf .venv .venv-* labextension/node_modules labextension/lib src/gpuplug/labextension $(PANEL) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
