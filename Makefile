# Oblix. `make help` lists the targets. The environment lives in .venv and is made from the lock files by whichever target needs it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEER := .venv-peer
REFEREES := .venv-referees
FUZZ := .venv-fuzz
NODE := .node-referees
# Tests of the rooms that hold money and state: every branch of these rooms is walked, and counted (pyproject.toml, [tool.coverage]).
COUNTED := tests/storage tests/ledger tests/sessions tests/decision/test_history.py
# They watch the whole machine.
ALONE := tests/agents/busy
SEED ?= ../shared/seed/edge-cloud-orchestration.md
export SEED
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check seed bench faults badlink privacy kill race sim crash referees fuzz format map lock clean weights

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Oblix needs Python 3.11 or newer; say which with PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The stamps say which lock file the environment fits; the larger one serves for the smaller.
$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --require-hashes -r requirements/demo.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.demo

$(PEER)/.ready: requirements/peer.txt
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/pip install --quiet --require-hashes -r requirements/peer.txt
	@touch $@

$(REFEREES)/.ready: requirements/referees.txt
	$(PYTHON) -m venv $(REFEREES)
	$(REFEREES)/bin/pip install --quiet --require-hashes -r requirements/referees.txt
	@touch $@

$(FUZZ)/.ready: requirements/fuzz.txt
	$(PYTHON) -m venv $(FUZZ)
	$(FUZZ)/bin/pip install --quiet --require-hashes -r requirements/fuzz.txt
	@touch $@

$(NODE)/.ready: tests/referees/package.json tests/referees/package-lock.json tests/referees/.npmrc
	@mkdir -p $(NODE)
	cp tests/referees/package.json tests/referees/package-lock.json tests/referees/.npmrc $(NODE)/
	cd $(NODE) && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

weights: $(VENV)/.demo  ## fetch the small model's weights (98 MB, once)
	@$(BIN)/python -m oblix models fetch smollm2

demo: $(VENV)/.demo  ## a real model answers here, and five scenes show why it ran where it did
	@$(BIN)/python -m oblix demo

test: $(VENV)/.dev $(PEER)/.ready $(REFEREES)/.ready  ## every test, the page's programs included
	@$(BIN)/python -m oblix models fetch smollm2
ifeq ($(ARGS),)
	@$(BIN)/python -m coverage run -m pytest $(COUNTED)
	@$(BIN)/python -m coverage report
	@$(BIN)/python -m pytest $(ALONE)
endif
	@$(BIN)/python -m pytest $(or $(ARGS),-n 2 --dist loadfile --no-loadscope-reorder $(patsubst %,--ignore=%,$(COUNTED) $(ALONE)))

check: $(VENV)/.dev  ## format, lint, types, import contracts, docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pyright --level error
	@$(BIN)/lint-imports
	@$(BIN)/python docs/make_map.py --check

seed: $(VENV)/.dev  ## run the published page's programs, verbatim, in every condition
	@$(BIN)/python -m oblix models fetch smollm2
	@$(BIN)/python -m tests.seed

faults: $(VENV)/.dev  ## every kind of fault at every moment, against the real client (N=10000)
	@$(BIN)/python -m tests.faults --requests $(or $(N),10000) $(ARGS)

badlink: $(VENV)/.dev  ## truly bad networks, and what the connectivity agent says of them (root)
	@$(BIN)/python -m tests.badlink $(ARGS)

privacy: $(VENV)/.dev  ## private prompts while everything fails that can: no byte of them reaches a cloud (N=2000)
	@$(BIN)/python -m tests.privacy --requests $(or $(N),2000) $(ARGS)

kill: $(VENV)/.dev  ## kill processes at random moments, three at a time on one data file (N=1000)
	@$(BIN)/python -m tests.kill $(or $(N),1000) $(ARGS)

race: $(VENV)/.dev  ## a thousand calls in four processes race for budgets from generous to nearly empty
	@$(BIN)/python -m tests.race $(ARGS)

sim: $(VENV)/.dev  ## the real client in simulated worlds, each from one seed (SEEDS=10000)
	@$(BIN)/python -m tests.sim --seeds $(or $(SEEDS),10000) $(ARGS)

crash: $(VENV)/.dev  ## kill the embedded engine at random tokens (N=100)
	@$(BIN)/python -m oblix models fetch smollm2
	@$(BIN)/python -m tests.crash $(or $(N),100)

referees: $(VENV)/.dev $(REFEREES)/.ready $(NODE)/.ready  ## llmock grades the client, aimock puts chaos before a real model
	@$(BIN)/python -m oblix models fetch smollm2
	@$(BIN)/python -m tests.referees

fuzz: $(VENV)/.dev $(FUZZ)/.ready  ## feed mutated inputs to each decoder and reader (N=1000000)
	@$(BIN)/python -m tests.fuzz --runs $(or $(N),1000000)

bench: $(VENV)/.dev  ## overhead against bare aiohttp and the openai SDK, in one run
	@$(BIN)/python -m bench

format: $(VENV)/.dev  ## put the code into the house style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

map:  ## write docs/map.md anew
	@$(PYTHON) docs/make_map.py

lock: | $(BIN)/python  ## resolve the requirements again and write the lock files
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet -r requirements/lock.in
	sh requirements/lock.sh .venv-lock/bin/pip-compile
	rm -rf .venv-lock

clean:  ## remove the environments and caches
	rm -rf $(VENV) $(PEER) $(REFEREES) $(FUZZ) $(NODE) .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
