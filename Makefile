# mix-bridge. `make help` lists what there is.

VENV := .venv
BIN := $(VENV)/bin
# Tests mostly wait for Kafka, so three of them share a core well: this is for two cores, and all share one broker.
WORKERS ?= 6
ARGS ?=
# How often the bridge is killed at random, and how often, or how long, everything else is done to it.
KILLS ?= 50
SIZE ?= 20
ACT ?=
ONLY ?= $(ACT)

# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12 ...` chooses another.
ifndef PYTHON
PYTHON := $(shell for one in python3 python3.13 python3.12 python3.11; do \
	$$one -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$one && break; done)
endif

PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
# The lock files are complete and carry a hash for each file, so pip resolves nothing: without --no-deps, pip 23.2 looks at
# the requirements of `coverage[toml]`, finds a newer version in the registry than the locked one, and stops.
INSTALL_LOCKED := $(PIP) install --require-hashes --no-deps --only-binary :all:
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --upgrade

.DEFAULT_GOAL := help
.PHONY: help demo test check format docs bench scale torture lock wheel clean kafka need-python need-java

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.runtime ## everything on this machine, nothing to install: make demo ARGS="--for 10s"
	@$(BIN)/mix-bridge demo $(ARGS)

# Without byte code each of the processes would rewrite the assertions of all test modules: 6 s of processor time each.
test: $(VENV)/.development kafka ## all tests, on a real Kafka: make test ARGS="-k reconnection"
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/.development ## lint, formatting, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.development ## put the code into its format and mend what can be mended
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/.development ## write the generated pages of docs from the code
	$(BIN)/python -m bridge.cli.manual > docs/cli.md
	$(BIN)/python -m bridge.observe.metrics.page > docs/metrics.md
	$(BIN)/python -m tests.docs.log_events > docs/logs.md
	$(BIN)/python -m bridge settings schema > config/settings.schema.json

bench: $(VENV)/.development kafka ## beside a naive bridge, on a real Kafka: make bench ARGS=--quick
	@$(BIN)/python -m tests.benchmarks $(ARGS)

scale: $(VENV)/.development kafka ## what one process carries: make scale ARGS="--sessions 100,1000,5000"
	@$(BIN)/python -m tests.benchmarks.scale $(ARGS)

torture: $(VENV)/.development kafka ## what it must survive, at length: make torture KILLS=50 SIZE=20 ONLY=kills,disk_full
	@$(BIN)/python -m tests.torture --kills $(KILLS) --size $(SIZE) $(if $(ONLY),--only $(ONLY)) $(ARGS)

wheel: $(VENV)/.development ## the wheel, in dist/
	$(BIN)/python -m build --wheel --no-isolation

lock: $(VENV)/.development ## lock the newest versions that pyproject.toml allows, with hashes
	$(LOCK) --output-file requirements.txt pyproject.toml
	$(LOCK) --output-file requirements-dev.txt --constraints requirements.txt --group dev pyproject.toml
	$(LOCK) --output-file requirements-build.txt --constraints requirements-dev.txt --group build

clean: ## remove the environment and everything that was made
	rm -rf $(VENV) build dist tests/support/target tests/servers/*/target tests/servers/node/node_modules \
		tests/support/asyncapi/node_modules .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python: | need-python
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt requirements-build.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing mix-bridge into $(VENV)"
	@$(INSTALL_LOCKED) -r requirements.txt -r requirements-build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PIP) check
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.runtime
	@echo "installing the tools for development into $(VENV)"
	@$(INSTALL_LOCKED) -r requirements-dev.txt
	@$(PIP) check
	@touch $@

kafka: need-java $(VENV)/.development
	@$(BIN)/python -m tests.support.archive

need-python:
	@test -n "$(PYTHON)" || { echo "mix-bridge needs Python 3.11 or newer: install it (Debian: apt-get install" \
		"python3 python3-venv), or name one with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "no Python of 3.11 or newer behind $(PYTHON)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments: install its venv module (Debian: apt-get install python3-venv)" >&2; \
		exit 1; }

need-java:
	@java -version 2>&1 | awk -F '"' '/version/ {split($$2, version, "."); found = version[1] >= 17} END {exit !found}' || { \
		echo "the tests run a real Kafka, which needs Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)" >&2; \
		exit 1; }
	@command -v mvn >/dev/null || { \
		echo "the tests fetch Kafka with Maven: install it (Debian: apt-get install maven)" >&2; exit 1; }
