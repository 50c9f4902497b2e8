# canary-sidecar. `make help` explains every target.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
STAMP := build/.setup
BUILT := build/.built
NATIVE := $(wildcard native/*) $(wildcard protos/canary/v1/*) setup.py pyproject.toml
T ?=
BENCH ?=

.PHONY: $(shell awk -F: '/^[a-z0-9-]+:.*\#\# /{print $$1}' Makefile)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## install what is missing: system packages (root or sudo), then .venv from deploy/constraints.txt
$(STAMP): .ci/bootstrap deploy/constraints.txt pyproject.toml
	@.ci/bootstrap
	@mkdir -p build && touch $@

build: $(BUILT)  ## compile the native core and the canary.v1 messages
$(BUILT): $(STAMP) $(NATIVE)
	@$(PY) -m pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

demo: build  ## watch a real Envoy move users with no restart, and bad versions taken out (KEEP=1 leaves it running)
	@$(PY) -m bench.demo $(if $(KEEP),--keep)

test: build  ## run the tests, against a real Envoy (T="-k name" narrows)
	@$(PY) -m pytest --numprocesses 2 --dist loadgroup $(T)

h2spec: build  ## HTTP/2's own test cases (h2spec, fetched by Go) against the native engine
	@command -v build/go/bin/h2spec >/dev/null || GOPATH="$(CURDIR)/build/go" GOFLAGS=-modcacherw \
	  go install github.com/summerwind/h2spec/cmd/h2spec@latest
	@$(PY) tests/conformance/h2spec.py build/go/bin

wheel: build  ## a wheel in dist/ that brings nghttp2, RE2 and OpenSSL along: to install it takes no compiler
	@rm -rf build/wheel build/lib* build/bdist*
	@$(PY) -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir build/wheel .
	@PATH="$(CURDIR)/.venv/bin:$$PATH" auditwheel repair --wheel-dir dist build/wheel/*.whl
	@rm -rf build/lib* build/bdist*

wheel-check: wheel  ## install that wheel in a clean environment, without compiler or libraries, and be answered
	@.ci/wheel-check dist/*.whl

lint: build  ## ruff, mypy --strict, import-linter, cython-lint, and our C with every warning an error
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo
	@PATH="$(CURDIR)/.venv/bin:$$PATH" cython-lint native
	@$(CC) -std=c11 -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror -O2 -fsyntax-only \
	  -Inative -DFIXED='""' native/sc_*.c native/check/*.c bench/contenders/floor/floor.c

fmt: build  ## format the Python code
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

sanitize: build  ## our C without Python under ASan, UBSan and TSan: races (one seeded), hostile peers, failing allocations
	@$(MAKE) --no-print-directory -C native/check sanitize

fuzz: build  ## libFuzzer on codec, table loader, transport and access log (SECONDS=600 each)
	@$(MAKE) --no-print-directory -C native/check fuzz $(if $(SECONDS),FUZZ_SECONDS=$(SECONDS))

crashes: build  ## SIGKILL at every commit, weight and acknowledgement of launches, guards and sidecars (a minute)
	@CANARY_CRASH_EVERY=1 $(PY) -m pytest -q -p no:randomly tests/integration/test_launch_crashes.py

soak: build  ## resident memory over a million requests with a swap every 100 ms (REQUESTS=1000000)
	@$(MAKE) --no-print-directory -C native/check soak

bench-instructions: build  ## instructions per request beside the floor's, by valgrind: the same on a busy machine
	@$(MAKE) --no-print-directory -C native/check cost

bench: build  ## core, peers and propagation, results under build/bench/ (QUICK=1: a look, no figures)
	@$(MAKE) --no-print-directory --keep-going -j1 bench-core bench-peers bench-propagation

bench-core: build  ## ns per decision and us per log entry: the core, its twins, their peers
	@mkdir -p build/bench
	@$(PY) -m pytest bench/test_core.py bench/test_outcomes.py -q -p no:randomly --benchmark-enable --benchmark-columns=median,iqr,rounds \
	  --benchmark-json=build/bench/core.json $(if $(QUICK),--benchmark-max-time=0.05 --benchmark-min-rounds=2)

bench-peers: build  ## what a decision costs behind a real Envoy, ours beside others (BENCH="--help" for more)
	@$(PY) -m bench.harness $(if $(QUICK),--quick) $(BENCH)

bench-peers-build: build  ## compile the contenders in C, C++, Go and Rust whose tools are here (minutes, once)
	@$(PY) -m bench.contenders

bench-churn: build  ## millions of requests while the weights move every 100 ms: not one may fail (20 minutes)
	@$(PY) -m bench.churn $(if $(QUICK),--quick) $(BENCH)

bench-scale: build  ## CPU and memory with 10,000 rollouts beside one, after a million requests each (10 minutes)
	@$(PY) -m bench.scale $(if $(QUICK),--quick) $(BENCH)

bench-propagation: build  ## how long old weights live on after a change
	@$(PY) -m bench.propagation $(if $(QUICK),--quick)

bench-swap: build  ## the slowest of thousands of requests while tables of 10,000 ruled rollouts come into force (a minute)
	@$(PY) -m bench.swap $(if $(QUICK),--rounds 1 --seconds 1) $(BENCH)

bench-rollback: build  ## how long a bad candidate lives on behind a real Envoy, and with 1,000 sidecars (QUICK=1: a look)
	@$(PY) -m bench.rollback $(if $(QUICK),--quick) $(BENCH)

bench-guard: build  ## what the guard promises, simulated beside others' rules (QUICK=1: a look, no figures)
	@$(PY) -m bench.guard $(if $(QUICK),--quick)

bench-guard-aa: build  ## false rollbacks in 24 simulated hours of nothing wrong, 2,000 launches a cell (half an hour)
	@$(PY) -m bench.guard.aa $(if $(QUICK),--launches 200 --hours 1)

bench-simulate: build  ## canary simulate over a million people: how many a second
	@mkdir -p build/bench && $(PY) -m bench.people 1000000 > build/bench/people.csv
	@.venv/bin/canary simulate bench/people.yaml --units build/bench/people.csv

clean:  ## remove everything that was built, .venv included
	rm -rf build dist .venv *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	rm -f sidecar/routing/*.so sidecar/control/pb/*_pb2.py sidecar/control/pb/*_pb2.pyi
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
