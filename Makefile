# `make run` opens the shop, `make test` shows that it works; `make` alone lists the targets.
# Options: PYTHON=python3.12 (makes .venv), CONFIG=file (instead of config/cluster.env), FILE=books.csv MAP=.. (import), NODE=name (promote),
# WITH_BACKUP=1 (run, status, simulate, chaos), NO_BACKUP=1 (demo), SEEDS=number or SEED=number (simulate), SECONDS=60 SEED=number REPORT=folder
# (chaos), ONLY=names (pictures).
# What is given to make reaches the services as environment: no option may have the name of a config key.

PYTHON ?= python3
BIN := .venv/bin
RUNTIME := .venv/.runtime
TESTING := .venv/.testing
BENCHING := .venv/.benching
NEWMAN := tests/node_modules/.newman
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install run demo stop status handover promote import test test-unit test-service test-cluster test-system newman simulate mutate chaos pictures bench check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(RUNTIME) ## make .venv and install what Bazar runs on

ifdef WITH_BACKUP
run status: export BACKUP := backup=http://127.0.0.1:8301
endif

run: $(RUNTIME) ## install, make the secrets, run all five nodes (Ctrl-C or `make stop` ends them); WITH_BACKUP=1: six
	@$(BIN)/python -m common.config init
	@$(BIN)/python -m common.run start

demo: $(RUNTIME) ## a shop to break: six nodes, faults and shoppers on a page, in data/demo (Ctrl-C ends it); NO_BACKUP=1: five
	@$(BIN)/python -m common.demo $(if $(NO_BACKUP),--no-backup)

stop: $(RUNTIME) ## end what `make run` started from this checkout
	@$(BIN)/python -m common.run stop

status: $(RUNTIME) ## ask every node how it is, and say whether the shop can read and write; WITH_BACKUP=1 as for run
	@$(BIN)/python -m common.status

import: $(RUNTIME) ## load books or a delivery: make import FILE=books.csv [MAP=title=Titel,..] [PRICE_CENTS=..] [STOCK=..] [TOPIC=..]
	@test -n "$(FILE)" || { echo 'which file? make import FILE=books.csv' >&2; exit 2; }
	@$(BIN)/python -m catalog.importer "$(FILE)" $(if $(MAP),--map "$(MAP)") $(if $(PRICE_CENTS),--price-cents "$(PRICE_CENTS)") \
	  $(if $(STOCK),--stock "$(STOCK)") $(if $(TOPIC),--topic "$(TOPIC)")

handover: $(RUNTIME) ## have the leader hand over to the other catalog
	@$(BIN)/python -m catalog.operate handover

promote: $(RUNTIME) ## go on with one catalog when the other is lost for good: make promote NODE=catalog-2
	@test -n "$(NODE)" || { echo 'which one is left? make promote NODE=catalog-2' >&2; exit 2; }
	@$(BIN)/python -m catalog.operate promote --node "$(NODE)"

test: $(TESTING) ## run all tests
	$(BIN)/python -m pytest tests

test-unit test-service test-cluster test-system: test-%: $(TESTING)
	$(BIN)/python -m pytest tests/$*

test-unit: ## pure rules, no I/O
test-service: ## one app, its peers pretended
test-cluster: ## several apps in one process, simulated
test-system: ## real processes

newman: $(NEWMAN) ## install what runs the Postman collection in the tests (needs nodejs and npm)

simulate: $(TESTING) ## random schedules of the whole cluster: make simulate SEEDS=1000, or SEED=7 to replay; WITH_BACKUP=1
	@$(BIN)/python -m tests.simulate $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),200)) $(if $(WITH_BACKUP),--backup)

mutate: $(TESTING) ## take out each rule of the protocol, in a copy, and see the simulator go red
	@$(BIN)/python -m tests.mutate

chaos: $(TESTING) ## break real processes for a while, as root: make chaos SECONDS=60 [SEED=..] [WITH_BACKUP=1] [REPORT=folder]
	$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(if $(WITH_BACKUP),--backup) $(if $(REPORT),--report $(REPORT))

pictures: $(TESTING) ## take pictures of every page, into docs/pictures/: make pictures [ONLY=shop-book]
	@$(BIN)/python -m tests.pictures $(ONLY)

bench: $(BENCHING) ## measure everything beside nginx and PostgreSQL, write docs/performance.md: make bench [ARGS='--only hits']
	@$(BIN)/python -m bench $(ARGS)

check: $(TESTING) ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean: ## remove .venv and caches; never data or secrets
	rm -rf .venv tests/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.txt | $(BIN)/pip
	$(PIP) -r requirements.txt
	@touch $@

$(TESTING): requirements.txt tests/requirements.txt | $(BIN)/pip
	$(PIP) -r tests/requirements.txt
	@touch $@ $(RUNTIME)

$(BENCHING): requirements.txt bench/requirements.txt | $(BIN)/pip
	$(PIP) -r bench/requirements.txt
	@touch $@ $(RUNTIME)

$(NEWMAN): tests/package.json tests/package-lock.json
	@command -v npm >/dev/null || { echo 'npm is missing; on Debian and Ubuntu: apt install nodejs npm' >&2; exit 1; }
	cd tests && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Bazar needs Python 3.11 or newer; if there is one by another name: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo 'this Python cannot make a .venv; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv .venv
