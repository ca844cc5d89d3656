# The commands of this repository. `make help` lists them; each sets up what it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz parts cover lint format types bench docs conformance proto lock clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ringfence needs Python 3.11 or newer; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## run the whole story on this machine (JSON=FILE writes what it measured)
	$(BIN)/ringfence demo $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(JSON),--json $(JSON))

test: $(STAMP) ## run all tests (T=PATH for some of them)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(T)

fuzz: $(STAMP) ## fuzz every parser, guided by coverage (SECONDS=60 for all of them)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/fuzz.txt
	$(BIN)/python -W ignore -m tests.fuzz.run $(or $(SECONDS),60) $(ONLY)

parts: ## build the programs of others that deeper tests run against (needs Go)
	tests/tools/build.sh .parts/bin

cover: $(STAMP) ## run all tests with branch coverage
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --cov --cov-report=term

lint: $(STAMP) ## ruff, format check and the import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy certs policy fabric xds proto broker perf

bench: $(STAMP) $(if $(PEERS),parts) ## measure every figure into perf/results/latest.json (ONLY=name for one, PEERS=1 beside SPIRE and go-control-plane)
	$(BIN)/python -m perf $(ONLY)

docs: conformance ## regenerate the pages that are made from the code
	$(BIN)/python -m docs.generate

conformance: $(STAMP) ## run the tests of the standards' lines into docs/conformance.json
	-$(BIN)/python -m pytest tests/conformance $$($(BIN)/python -m tests.conformance.lines) -p tests.conformance.record -n $(JOBS) --dist loadgroup

proto: $(STAMP) ## regenerate the wire code and the descriptor sets
	$(BIN)/python proto/generate.py

lock: ## pin every requirement with its hash (needs uv)
	uv pip compile requirements/dev.in --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-emit-find-links -q -o requirements/dev.txt

clean: ## remove the environment and every cache
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
