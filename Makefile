# Holm: `make demo` shows it, `make test` proves it, `make bench` measures it. Each does its own set-up.

export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: build demo test bench setup lint clean
.DEFAULT_GOAL := build

build: ## the release binary, target/release/holm
	@tools/setup.sh build
	cargo build --release --package holm

demo: build ## a container from an image made on the spot, and what it cost
	@tools/setup.sh demo
	@HOLM=$(TARGET)/release/holm tools/demo.sh

setup: ## everything that `make test` needs
	@tools/setup.sh test

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@# SC2016: what stands in single quotes is for the shell in the container.
	@if command -v shellcheck >/dev/null; then shellcheck --exclude SC2016 tools/*.sh examples/*.sh .ci/run; fi

test: setup lint ## every test, as CI runs it
	cargo build --release --package holm
	cargo test --workspace --no-fail-fast

bench: ## every benchmark beside the peers, as a table and as target/bench/*.json; RECORD=1 writes docs/benchmarks.md
	@tools/setup.sh bench
	cargo build --release --package holm
	cargo build --release --package holm-network --example dns
	cargo build --package holm-benches
	$(TARGET)/debug/holm-bench $(if $(RECORD),--record docs/benchmarks.md)

clean:
	cargo clean
