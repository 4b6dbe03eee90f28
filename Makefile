# make run    set up (once), then wsss run: config.yaml, on all cores;  make run ARGS="--configfile my.yaml -n"
# make run CPU=1  without GPU libraries, 2 GB in place of 7; the first time, or after make clean-env (as make env CPU=1)
# make test   set up (once), then check style and run the tests, in two processes;  make test JOBS=4
# make test-slow  the tests that take minutes: a cluster, kills, a browser, tutorials, a run of every stage
# make lint   style only
# make docs   build the documentation in build/site
# make env TORCH=cu126  versions for GPUs older than Turing, such as V100; the first time, or after make clean-env
# make bench  time every kernel beside its baseline;  make bench ARGS="--only threshold-sweep"
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: run test test-slow lint docs bench env clean-env

JOBS ?= 2
VENV ?= .venv
PYTHON ?= python3
TORCH ?=
CPU ?=
PINS := envs/requirements$(if $(TORCH),-$(TORCH)).txt
BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/.installed
BUILT := $(VENV)/.built
PYTEST := python -m pytest -n $(JOBS) --no-loadscope-reorder --max-worker-restart 0
export PATH := $(BIN):$(PATH)
# hundreds of short processes: compiled modules save minutes
unexport PYTHONDONTWRITEBYTECODE

run: $(BUILT)
	wsss run --yes --short $(ARGS)

test: lint
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(BUILT)
	$(PYTEST) -m slow $(ARGS)

lint: $(BUILT)
	ruff check .
	ruff format --check .
	lint-imports --no-logo --no-cache
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

docs: $(BUILT)
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict $(ARGS)

bench: $(BUILT)
	python -m benchmarks $(ARGS)

env: $(BUILT)

$(STAMP): $(PINS) envs/install.sh pyproject.toml
	bash envs/install.sh "$(VENV)" "$(PYTHON)" "$(PINS)" $(if $(CPU),cpu)
	touch $@

# the installation builds what is written in C++; this builds it again when its source changes
$(BUILT): $(STAMP) setup.py wsss/provenance/native.py $(wildcard native/*/*)
	python setup.py --quiet build_ext --inplace
	touch $@

clean-env:
	rm -rf "$(VENV)" .bootstrap
