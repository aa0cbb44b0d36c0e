# Everything a developer types. A fresh machine needs Python 3.11 or newer, make and git; each target sets up
# what it needs, and a second call does not do it again.

PYTHON ?= python3
BIN := .venv/bin
TRAINING := .venv-training/bin/python
# Tests spend much of their time waiting for child processes, so two workers suit two cores.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-everywhere lint format bench docs clean lock system-packages .venv .venv-training .venv-clients .venv-models .venv-peers .venv-heavy .venv-clusters

help:  ## Say what can be typed
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20

demo: .venv/ready  ## See it work: record a training, repeat it from nothing, change it, compare
	@PYTHON="$(PYTHON)" demo/show $(BIN)/bis .demo

test: .venv/ready .venv-training/ready .venv-clients/ready .venv-models/ready system-packages  ## Quick tests (some minutes)
	$(PYTEST) -n $(WORKERS) -m "not slow"

test-all: .venv/ready .venv-training/ready .venv-clients/ready .venv-models/ready .venv-peers/ready .venv-heavy/ready .venv-clusters/ready system-packages  ## Every test
	$(PYTEST) -n $(WORKERS)

test-everywhere: .venv/ready .venv-training/ready .venv-clients/ready .venv-models/ready system-packages  ## Quick tests as an ordinary user, without namespaces, with a weaker trace
	scripts/test-everywhere

lint: .venv/ready  ## Types, style, format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready  ## Let ruff format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: .venv/ready .venv-training/ready  ## What bis costs: start-up, and overhead over the bare command
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/overhead.py

docs: .venv/ready  ## Write the reference pages anew from the code
	$(BIN)/python scripts/reference.py
	$(BIN)/python scripts/changelog.py

clean:  ## Remove what make has made, environments too
	rm -rf .venv .venv-training .venv-clients .venv-models .venv-peers .venv-heavy .venv-clusters .azurite .demo .corpus build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks demo scripts -name __pycache__ -type d -exec rm -rf {} +

lock: .venv/ready  ## Resolve the locks in requirements/ anew (LOCK=--upgrade for newer versions)
	scripts/lock $(LOCK)

system-packages:  ## Install the system tools that tests use, where this may be done
	@scripts/system-packages

# Environments: that of bis, that of a user's project, which does not contain bis, that of clients of the server, that of
# models, that of other systems for data, that of clusters, and that of frameworks which take gigabytes.
.venv: .venv/ready
.venv-training: .venv-training/ready
.venv-clients: .venv-clients/ready
.venv-models: .venv-models/ready
.venv-peers: .venv-peers/ready
.venv-heavy: .venv-heavy/ready
.venv-clusters: .venv-clusters/ready

.venv/ready: requirements/dev.txt pyproject.toml scripts/environment
	@scripts/environment "$(PYTHON)" .venv requirements/dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv-training/ready: requirements/training.txt scripts/environment
	@scripts/environment "$(PYTHON)" .venv-training requirements/training.txt
	@touch $@

.venv-clients/ready: requirements/clients.txt scripts/environment
	@scripts/environment "$(PYTHON)" .venv-clients requirements/clients.txt
	@touch $@

.venv-models/ready: requirements/models.txt scripts/environment
	@scripts/environment "$(PYTHON)" .venv-models requirements/models.txt
	@touch $@

.venv-peers/ready: requirements/peers.txt scripts/environment
	@scripts/environment "$(PYTHON)" .venv-peers requirements/peers.txt
	@touch $@

.venv-heavy/ready: requirements/heavy.txt scripts/environment scripts/heavy-environment
	@scripts/heavy-environment "$(PYTHON)" .venv-heavy requirements/heavy.txt
	@touch $@

.venv-clusters/ready: requirements/clusters.txt scripts/environment
	@scripts/environment "$(PYTHON)" .venv-clusters requirements/clusters.txt
	@touch $@
