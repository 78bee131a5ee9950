# Every command a developer needs; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A bar where somebody looks, a line for each package elsewhere.
PROGRESS := $(shell [ -t 2 ] && echo on || echo off)

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-budget test test-fast check format bench bench-api bench-start bench-live bench-scheduler \
	bench-ledger roam fuzz-api race clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gaelp-ray needs Python 3.11 or newer; set PYTHON=...")'
	@echo "Making $(VENV) and installing about 100 packages into it; the first time takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --progress-bar $(PROGRESS) -c constraints.txt -e '.[dev]'
	@touch $(STAMP)
	@echo "Installed. Try 'make demo'."

demo: setup ## Start the service, train an agent, watch it learn, compare it, stop
	$(BIN)/gaelp demo $(ARGS)

demo-budget: setup ## An agent that spends real money on a sandbox, stopped to the cent
	$(BIN)/gaelp demo-budget $(ARGS)

test: setup ## Every test, the ones that kill processes too
	$(BIN)/pytest -m 'not slow' $(ARGS)

test-fast: setup ## Tests that need no Ray: seconds, not minutes
	$(BIN)/pytest tests/unit tests/store tests/http tests/properties $(ARGS)

fuzz-api: setup ## Machine-made requests to a running service, as an admin and as two users
	$(BIN)/python -m tests.fuzz $(ARGS)

check: setup ## Lint, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-api bench-start bench-live bench-scheduler bench-ledger ## Every benchmark, one JSON line a figure

bench-api: setup ## Requests per second beside Serve's default proxy and a bare handler
	$(BIN)/python -m tests.benchmarks.bench_api

bench-start: setup ## Submit to running, beside `ray job submit`
	$(BIN)/python -m tests.benchmarks.bench_start

bench-live: setup ## Report to WebSocket, beside polling
	$(BIN)/python -m tests.benchmarks.bench_live

bench-scheduler: setup ## Admissions per second, take-over, memory, and one plan as the queue grows
	$(BIN)/python -m tests.benchmarks.bench_scheduler $(ARGS)
	$(BIN)/python -m tests.benchmarks.bench_plan

bench-ledger: setup ## Holds per second beside a transaction and row lock for each
	$(BIN)/python -m tests.benchmarks.bench_ledger

roam: setup ## Orders of ledger operations that no run has tried: minutes
	HYPOTHESIS_PROFILE=default LEDGER_EXAMPLES=$${LEDGER_EXAMPLES:-1000} \
		$(BIN)/pytest --timeout=0 tests/properties/test_ledger_machine.py $(ARGS)

race: setup ## Ten processes of a hundred spenders each, at guards and HTTP, all killed at random: minutes
	$(BIN)/pytest -m slow tests/chaos/test_ledger_race.py $(ARGS)

clean: ## Remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
