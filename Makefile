# The few targets; `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STATE ?= state
ARGS ?=

.PHONY: help setup up up-ha test fuzz chaos lint types layers protos protos-check check bench simulate clean

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready ## make the virtual environment with everything in it

$(VENV)/.ready: pyproject.toml constraints.txt tools/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash tools/setup.sh
	@touch $@

up: $(VENV)/.ready ## start a whole pool here: broker, this machine, a simulated region (Ctrl-C stops it)
	@exec $(BIN)/computepool up --state-dir "$(STATE)" $(ARGS)

up-ha: $(VENV)/.ready ## a broker over a replicated Redis under load, and keys to break what you like
	@bash tools/test_servers.sh redis-server
	@exec $(BIN)/computepool up-ha --state-dir "$(STATE)/ha" $(ARGS)

test: $(VENV)/.ready ## run all tests (ARGS="-k name" for some)
	@bash tools/test_servers.sh
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

MINUTES ?= 1
fuzz: $(VENV)/.ready ## throw bad bytes at every service for MINUTES=n
	@COMPUTEPOOL_FUZZ_SECONDS=$$(($(MINUTES) * 60 / 4)) $(BIN)/python -m pytest -q -s tests/fuzz $(ARGS)

ROUNDS ?= 0
SEED ?=
chaos: $(VENV)/.ready ## break a pool under load for MINUTES=n or ROUNDS=n (SEED=s repeats a run)
	@bash tools/test_servers.sh
	@PYTHONPATH=tests GRPC_VERBOSITY=NONE $(BIN)/python -m chaos --seed "$(SEED)" \
		$(if $(filter 0,$(ROUNDS)),--minutes $(MINUTES),--rounds $(ROUNDS)) $(ARGS)

lint: $(VENV)/.ready ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready ## mypy, strict
	$(BIN)/mypy

layers: $(VENV)/.ready ## import-linter: who may import what
	$(BIN)/lint-imports

protos: $(VENV)/.ready ## generate the code from protos/ anew
	$(BIN)/python tools/protos.py

protos-check: $(VENV)/.ready ## buf lint, and the generated code is current
	cd protos && $(abspath $(BIN))/buf lint
	$(BIN)/python tools/protos.py --check
	$(BIN)/python tools/accelerators_doc.py --check
	$(BIN)/python tools/metrics_doc.py --check

check: test lint types layers protos-check ## everything that CI runs

bench: $(VENV)/.ready ## run all benches; one JSON object per line on standard output
	@$(BIN)/python -m bench all

bench-%: $(VENV)/.ready ## run one bench: echo, allocate, stream, batch, renew, ... (`python -m bench -h`)
	@$(BIN)/python -m bench $*

simulate: $(VENV)/.ready ## the simulation of a sharded pool (ARGS=measure measures its costs anew; see docs/design-notes)
	@$(BIN)/python -m simulation $(ARGS)

clean: ## remove the virtual environment and caches (not the state)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
