# Ursa. `make help` says what there is. Needs python3 >= 3.11 with venv, git and make; everything else is fetched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help up down status clean test lint robustness generate constraints compose-up compose-down test-compose venv dev python-check

help: ## what can be made
	@echo "usage: make TARGET [ARGS='...']"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: venv ## start a cluster of 2 tenant and 2 resource partitions here; ARGS='--nodes 50' go to `ursa up`
	@$(BIN)/ursa up $(ARGS)

down: venv ## end every process of the cluster; its data stays
	@$(BIN)/ursa down

status: venv ## partitions, components, nodes and pods
	@$(BIN)/ursa status $(ARGS)

clean: ## end the cluster and remove its data (.ursa)
	@if [ -x $(BIN)/ursa ] && [ -d "$${URSA_HOME:-.ursa}" ]; then $(BIN)/ursa down; fi
	@rm -rf "$${URSA_HOME:-.ursa}"
	@echo "removed $${URSA_HOME:-.ursa}"

test: dev lint ## everything the tests need, then every check and test
	$(BIN)/pytest $(PYTEST_ARGS)

robustness: dev ## real processes under random faults, judged by guarantee; SEED=7 MINUTES=5
	$(BIN)/python -m tests.robustness $(if $(SEED),--seed $(SEED)) --minutes $(or $(MINUTES),2)

lint: dev ## style, format, types, layers, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/generate_api.py --check

generate: dev ## write the code generated from protos/ anew
	$(BIN)/python tools/generate_api.py

compose-up: ## the same cluster in containers
	@deploy/compose/up.sh $(ARGS)

compose-down: ## end the containers
	@deploy/compose/down.sh $(ARGS)

test-compose: dev ## bring the containers up and run the end-to-end scenario against them
	@deploy/compose/test.sh $(ARGS)

constraints: dev ## write constraints.txt from what is installed in .venv
	$(BIN)/pip freeze --exclude-editable --exclude pip --exclude setuptools | LC_ALL=C sort -f > constraints.txt

venv: $(VENV)/.installed
dev: $(VENV)/.installed-dev

# The environment is made again only when what it is made from has changed.
$(VENV)/.installed: pyproject.toml constraints.txt | python-check
	@$(call make_venv)
	@echo "installing ursa into $(VENV) (once; takes a minute)"
	@$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt $(VENV)/.installed
	@echo "installing what the tests need into $(VENV)"
	@$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

define make_venv
test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || { \
  echo "error: cannot make a virtual environment; on Debian/Ubuntu: apt-get install python3-venv" >&2; \
  rm -rf $(VENV); exit 1; }
endef

python-check:
	@command -v $(PYTHON) > /dev/null || { echo "error: there is no $(PYTHON); Ursa needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $$($(PYTHON) --version) is too old: Ursa needs 3.11 or newer; choose one with make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
