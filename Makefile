# The two commands that matter: `make demo` shows Cheling at work, `make test` proves it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Given to the binary: make demo ARGS=--quiet-phones
ARGS ?=
CARGO ?= cargo

.PHONY: help demo test build-tests test-rust test-e2e lint console console-check bench ruin soak bootstrap-demo bootstrap-test clean

help: ## lists these commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## */\1\t/' | expand -t 18

demo: bootstrap-demo console ## a throwaway dealership with simulated phones (ARGS=--quiet-phones leaves them to you)
	$(CARGO) build --release --locked -p cheling-server
	exec target/release/cheling demo $(ARGS)

test: bootstrap-test console lint console-check test-rust test-e2e ## everything, with real clients; needs only Rust and apt
	@echo 'make test: all passed'

lint: console ## formatting, clippy and, where cargo-deny is installed, licences and sources
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@if command -v cargo-deny >/dev/null; then \
	  $(CARGO) deny --offline check bans licenses sources; \
	else \
	  echo 'cargo-deny is not installed: licences and sources not checked'; \
	fi

# One build with the tests' features, so that the binary which the end-to-end tests start is
# not compiled a second time.
build-tests: console
	$(CARGO) build --workspace --bins --tests --locked

test-rust: build-tests ## Rust tests, unit to end to end
	$(CARGO) test --workspace --locked
	# The decoders that are off by default are tried by whatever octets, too.
	$(CARGO) test --locked -p cheling-media --features g729-amr --test fuzz_targets --test mutation

test-e2e: build-tests ## the console in headless Chromium, on a double and on the real binary
	scripts/console e2e

console: ## builds the web console if its sources changed
	scripts/console build

console-check: ## lint, types and unit tests of the console
	scripts/console check

ruin: build-tests ## a thousand kill -9 during fifty calls; two hours (RUIN_KILLS=, RUIN_CALLS=, RUIN_SEED=)
	RUIN_KILLS=$${RUIN_KILLS:-1000} RUIN_CALLS=$${RUIN_CALLS:-50} \
	  $(CARGO) test --workspace --locked --test ruin killed -- --nocapture

soak: build-tests ## a day of calls, with an eye on memory (SOAK_MINUTES=, SOAK_CALLS=; SOAK_ROUNDS=, SOAK_AT_ONCE=)
	SOAK_MINUTES=$${SOAK_MINUTES:-1440} SOAK_CALLS=$${SOAK_CALLS:-3} \
	  $(CARGO) test --release --locked -p cheling-store --test soak -- --nocapture
	SOAK_ROUNDS=$${SOAK_ROUNDS:-400} SOAK_AT_ONCE=$${SOAK_AT_ONCE:-10} \
	  $(CARGO) test --workspace --locked --test soak memory_of_the_running -- --nocapture

bench: bootstrap-demo console ## the benchmarks that the budgets are judged by, one after another
	$(CARGO) build --release --locked -p cheling-server
	$(CARGO) bench --workspace --locked --benches

bootstrap-demo:
	@scripts/bootstrap demo

bootstrap-test:
	@scripts/bootstrap test

clean: ## removes what was built
	$(CARGO) clean
	rm -rf crates/web/ui/dist crates/web/ui/node_modules crates/web/ui/toolchain/node_modules
