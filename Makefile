# Every target makes .venv by itself when it has to. PYTHON=/path/to/python3.11 chooses a Python.

PYTHON ?=
BIN := .venv/bin
DEMO_COMMAND = $(BIN)/tapewatch up --demo
UP_COMMAND = $(BIN)/tapewatch up
BENCH_COMMAND = $(BIN)/tapewatch bench throughput
# Anything for pytest besides: make test TESTS="tests/unit -k store"
TESTS ?=
# What takes minutes more is left to CI=true; make test TESTS="-m long" runs it alone.
MARKS = $(if $(filter true,$(CI)),,-m "not long")
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help venv demo up test servers check bench fmt lint types imports docs requirements clean

help: ## say what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 22

venv: ## make .venv and install everything into it
	@.ci/venv "$(PYTHON)"

demo: venv ## see it work: a simulated market, alerts within a minute, a summary at the end
	@$(DEMO_COMMAND)

up: venv ## run the monitor until Ctrl-C
	@$(UP_COMMAND)

test: venv ## run the tests; those on servers that are not here are skipped
	@$(BIN)/python -m pytest -q -n auto --dist worksteal $(MARKS) $(TESTS)

servers: venv ## fetch the Kafka that tests start by themselves (needs Java 17 and Maven)
	@.ci/servers

check: venv lint types imports ## everything CI checks besides the tests

bench: venv ## measure throughput on this machine
	@$(BENCH_COMMAND)

fmt: venv ## format the code
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --select I --fix .

lint: venv ## check format and style
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: venv ## check types
	@$(BIN)/mypy

imports: venv ## check that rooms import downwards only
	@$(BIN)/lint-imports

docs: venv ## write the pages that come from code
	@$(BIN)/python -m console.pages

requirements: ## resolve the pinned packages anew (needs uv)
	$(COMPILE) --extra dev pyproject.toml -o requirements-dev.txt
	$(COMPILE) -c requirements-dev.txt pyproject.toml -o requirements.txt
	echo hatchling | $(COMPILE) -c requirements-dev.txt - -o docker/requirements-build.txt

clean: ## remove .venv and everything made
	rm -rf .venv build dist htmlcov .coverage .import_linter_cache
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
