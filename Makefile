# The few targets; `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup
help: ## list the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready ## make the virtual environment with everything in it

$(VENV)/.ready: pyproject.toml constraints.txt tools/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) bash tools/setup.sh
	@touch $@

protos: $(VENV)/.ready ## generate the code from protos/ anew
	$(BIN)/python tools/protos.py

protos-check: $(VENV)/.ready
	$(BIN)/python tools/protos.py --check

.PHONY: bench
bench: $(VENV)/.ready ## run all benches; one JSON object per line on standard output
	@$(BIN)/python -m bench all

bench-%: $(VENV)/.ready ## run one bench: echo, allocate, allocate-alone, engine, agent
	@$(BIN)/python -m bench $*
