# Two commands: `make demo` runs the main job, `make test` runs the suite. Both install what they need into .venv.
.DEFAULT_GOAL := help
SHELL := bash
# modules are kept compiled in .venv, whatever the machine's setting: else every worker compiles them at every start
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# two processes of tests at a time; those of one file are run by one of them, in order
PAIR := -n 2 --dist loadfile
COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-header pyproject.toml

.PHONY: help demo test test-slow soak test-pages test-servers servers test-deploy deploy-tools lint docs bench evaluate wheel lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/python: ## (internal) an empty environment of a Python that is new enough
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"frostmap needs Python 3.11 or newer; {sys.executable} is {v[0]}.{v[1]}. Name another: make PYTHON=/path/to/python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run: requirements.lock pyproject.toml | $(VENV)/python
	@echo "installing frostmap into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev: requirements-dev.lock pyproject.toml | $(VENV)/python
	@echo "installing frostmap and its development tools into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/run

demo: $(VENV)/run ## simulate a plateau, map its frozen ground, open the report's path
	@$(BIN)/frostmap demo

test: $(VENV)/dev ## the suite: kernels without the JIT, then everything with it
	@NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q $(PAIR) tests/kernels
	@$(BIN)/python -m pytest $(PAIR) -m "not slow and not servers and not pages"

test-slow: $(VENV)/dev ## the long tests: the demo at full size against its truth, runs that are killed, several hosts
	@$(BIN)/python -m pytest $(PAIR) -m "slow and not servers" tests

soak: $(VENV)/dev ## the small demo in a loop for MINUTES, its workers killed at random
	@$(BIN)/python -m tests.benchmarks.soak_once $(or $(MINUTES),30)

test-pages: $(VENV)/dev ## what tutorial, how-tos and notebooks say to type, typed (five minutes)
	@$(BIN)/python -m pytest $(PAIR) -m pages tests

test-servers: $(VENV)/dev .venv-servers/ready ## tests against real STAC and S3 servers (the former need PostgreSQL)
	@$(BIN)/python -m pytest -m servers tests/servers

.venv-servers/ready: tests/servers/requirements.lock
	@echo "installing the test servers into .venv-servers ..."
	@test -x .venv-servers/bin/python || $(PYTHON) -m venv .venv-servers
	@.venv-servers/bin/python -m pip --quiet --disable-pip-version-check --no-input install --require-hashes -r $<
	@touch $@

test-deploy: $(VENV)/dev .venv-deploy/ready ## the manifests against the schemas of Kubernetes and of the Dask operator
	@$(BIN)/python -m pytest tests/deploy

.venv-deploy/ready: tests/deploy/requirements.lock
	@echo "installing what judges the manifests into .venv-deploy ..."
	@test -x .venv-deploy/bin/python || $(PYTHON) -m venv .venv-deploy
	@.venv-deploy/bin/python -m pip --quiet --disable-pip-version-check --no-input install --require-hashes -r $<
	@touch $@

deploy-tools: .venv-deploy/ready ## the Dask operator, schemas of Kubernetes and a linter, in an environment of their own

servers: .venv-servers/ready ## the STAC and S3 servers that tests/servers starts, in an environment of their own

lint: $(VENV)/dev ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --no-incremental
	@$(BIN)/lint-imports --no-cache

docs: $(VENV)/dev ## build the documentation: open build/site/index.html; a link that leads nowhere is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --clean

bench: $(VENV)/dev ## benchmarks against their peers, as ratios
	@$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only -q --no-header

evaluate: $(VENV)/run ## how good the thermal chain is, as tables in docs/explanation/evaluation.md (a quarter of an hour)
	@$(BIN)/frostmap evaluate $(if $(wildcard ../shared/data),--data ../shared/data) --out docs/explanation/evaluation.md

wheel: $(VENV)/dev ## build the wheel from the sdist, install it in an empty environment, try it
	@rm -rf dist .venv-wheel
	@$(BIN)/python -m build --no-isolation --outdir dist .
	@$(PYTHON) -m venv .venv-wheel
	@.venv-wheel/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements.lock
	@.venv-wheel/bin/python -m pip --quiet --disable-pip-version-check install --no-deps dist/frostmap-*.whl
	@cd dist && ../.venv-wheel/bin/frostmap --version
	@cd dist && ../.venv-wheel/bin/frostmap demo --small --workdir wheel-check && rm -rf wheel-check
	@rm -rf .venv-wheel

lock: ## renew both lock files (needs uv)
	$(COMPILE) --extra metrics --group build -o requirements.lock
	$(COMPILE) --group dev -o requirements-dev.lock
	$(subst pyproject.toml,tests/servers/requirements.in,$(COMPILE)) -o tests/servers/requirements.lock
	$(subst pyproject.toml,tests/deploy/requirements.in,$(COMPILE)) -o tests/deploy/requirements.lock

clean: ## remove what the commands above made
	rm -rf .venv .venv-wheel .venv-servers .venv-deploy dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
