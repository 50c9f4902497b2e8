# canary-sidecar. `make help` explains every target.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
STAMP := build/.setup
BUILT := build/.built
NATIVE := $(wildcard native/*) $(wildcard protos/canary/v1/*) setup.py pyproject.toml
T ?=
BENCH ?=

.PHONY: help setup build demo test lint fmt sanitize fuzz soak bench bench-core bench-peers bench-propagation clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## install what is missing: system packages (root or sudo), then .venv from deploy/constraints.txt
$(STAMP): .ci/bootstrap deploy/constraints.txt pyproject.toml
	@.ci/bootstrap
	@mkdir -p build && touch $@

build: $(BUILT)  ## compile the native core and the canary.v1 messages
$(BUILT): $(STAMP) $(NATIVE)
	@$(PY) -m pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

demo: build  ## watch a real Envoy move users 5 -> 50 -> 0 % with no restart (KEEP=1 leaves it running)
	@$(PY) -m bench.demo $(if $(KEEP),--keep)

test: build  ## run the tests, against a real Envoy (T="-k name" narrows)
	@$(PY) -m pytest $(T)

lint: build  ## ruff, mypy --strict, import-linter, cython-lint, and our C with every warning an error
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo
	@PATH="$(CURDIR)/.venv/bin:$$PATH" cython-lint native
	@$(CC) -std=c11 -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror -O2 -fsyntax-only \
	  -Inative -DFIXED='""' native/sc_*.c native/check/*.c

fmt: build  ## format the Python code
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

sanitize: build  ## our C without Python under ASan, UBSan and TSan: races (one seeded), hostile peers, failing allocations
	@$(MAKE) --no-print-directory -C native/check sanitize

fuzz: build  ## libFuzzer on codec, table loader and transport (SECONDS=600 each)
	@$(MAKE) --no-print-directory -C native/check fuzz $(if $(SECONDS),FUZZ_SECONDS=$(SECONDS))

soak: build  ## resident memory over a million requests with a swap every 100 ms (REQUESTS=1000000)
	@$(MAKE) --no-print-directory -C native/check soak

bench: build  ## all benchmarks, results under build/bench/ (QUICK=1: a look, no figures)
	@$(MAKE) --no-print-directory --keep-going -j1 bench-core bench-peers bench-propagation

bench-core: build  ## ns per decision: the core, its twin, a plain hash
	@mkdir -p build/bench
	@$(PY) -m pytest bench/test_core.py -q -p no:randomly --benchmark-enable --benchmark-columns=median,iqr,rounds \
	  --benchmark-json=build/bench/core.json $(if $(QUICK),--benchmark-max-time=0.05 --benchmark-min-rounds=2)

bench-peers: build  ## what a decision costs behind a real Envoy, ours beside others (BENCH="--help" for more)
	@$(PY) -m bench.harness $(if $(QUICK),--quick) $(BENCH)

bench-propagation: build  ## how long old weights live on after a change
	@$(PY) -m bench.propagation $(if $(QUICK),--quick)

clean:  ## remove everything that was built, .venv included
	rm -rf build dist .venv *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	rm -f sidecar/routing/*.so sidecar/control/pb/*_pb2.py sidecar/control/pb/*_pb2.pyi
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
