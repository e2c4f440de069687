# What one types. `make help` lists it; each step of `make test` is also a target of its own.

CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
RELEASE := $(CARGO_TARGET_DIR)/release
PREFIX  ?= /usr/local
DESTDIR ?=
BENCH   ?=
FUZZ_SECONDS ?= 600
# About two minutes on two processors; make soak runs the long variant.
SCHEDULES ?= $(if $(EXO_SOAK),100000,10000)
# Cargo compiles a crate again for each set of its features, and these follow from the packages named:
# steps that share what they build name the same ones.
PROGRAMS := -p exo-cli -p exo-monitor -p exo-example-tail
TESTED   := --workspace --exclude compat-tests --exclude exo-sim --exclude exo-models
# Optimised tests that nobody installs are not optimised once more as a whole.
WITHOUT_LTO := CARGO_PROFILE_RELEASE_LTO=off

.DEFAULT_GOAL := help
.PHONY: help build demo test fuzz soak planted bench install uninstall clean \
        format lint docs unit sim models tidy loom shim licences compat examples

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  make install PREFIX=/usr/local, make bench BENCH=--quick (or --long)"

build: ## exo, exod, libexo_shim.so and what the examples run, optimised
	@tools/needs.sh cargo cc
	cargo build --release $(PROGRAMS)
	cargo build --release -p exo-shim

demo: ## unmodified programs on one group, over the kernel and over Exo
	@tools/needs.sh cargo cc python3 socat ip
	cargo build --release $(PROGRAMS)
	cargo build --release -p exo-shim
	@$(RELEASE)/exo demo

test: ## everything that must hold; what CI runs
	@tools/needs.sh cargo cc fmt clippy python3 socat ip unshare sockperf iperf
	@tools/steps.sh format lint docs shim tidy unit sim models loom build compat examples licences

fuzz: ## every fuzz target for FUZZ_SECONDS (600), guided by coverage; needs cargo-fuzz
	@cargo fuzz --version >/dev/null 2>&1 || { echo 'cargo-fuzz is missing: cargo install cargo-fuzz' >&2; exit 1; }
	cd libexo/fuzz && cargo run -q --example seeds -- corpus
	cd libexo && set -e; for target in $$(cargo fuzz list); do \
	  cargo fuzz run --sanitizer none $$target fuzz/corpus/$$target fuzz/regressions/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS); done

soak: ## the long variants: 100,000 schedules, every planted mistake, exhaustive models, a million datagrams over every transport, many faults
	@tools/needs.sh cargo cc python3 socat ip unshare sockperf iperf
	@EXO_SOAK=1 tools/steps.sh sim planted models build compat

bench: ## the kernel's multicast and Exo, the same programs, one run
	@tools/needs.sh cargo cc ip
	cargo build --release $(PROGRAMS) -p exo-bench
	cargo build --release -p exo-shim
	cargo build --release -p libexo --example ring_hop --features engine,transport
	@$(RELEASE)/exo-bench $(BENCH)

format: ## step: cargo fmt --check
	cargo fmt --check

lint: ## step: clippy without a warning
	cargo clippy --workspace --all-targets -- -D warnings

docs: ## step: rustdoc without a warning
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --features libexo/journal,libexo/transport

shim: ## step: the preloaded library by itself: system calls of its own only, no ordering engine
	cargo build --release -p exo-shim
	@if cargo tree --workspace -e features,no-dev | grep -q 'rustix feature "use-libc"'; then \
	  echo 'rustix/use-libc is on in the shim: its own calls would enter its own hooks;' \
	       'find who asks for it with: cargo tree --workspace -e features -i rustix' >&2; exit 1; fi
	@if cargo tree --workspace -f '{p} features {f}' | grep 'libexo v.* features .*planted'; then \
	  echo 'a build of the workspace would hold planted mistakes: who asks for libexo/planted?' >&2; exit 1; fi
	@if cargo tree -p exo-shim -e normal,features | grep -E 'libexo feature "engine"|aes-gcm-siv|blake3|crc32c|twox-hash'; then \
	  echo 'the engine or its checksums are in the shim: who asks for libexo/engine there?' >&2; exit 1; fi

tidy: ## step: import rules, rooms with unsafe, forgotten markers
	cargo test $(TESTED) --test tidy

unit: ## step: unit, property and process tests
	@if cargo nextest --version >/dev/null 2>&1; then \
	  set -x; cargo nextest run $(TESTED); \
	else \
	  set -x; cargo test $(TESTED) --bins --lib --tests; \
	fi
	cargo test --doc $(TESTED)

sim: ## step: scenarios, scripted runs and thousands of schedules of many hosts, optimised
	$(WITHOUT_LTO) cargo test --release -p exo-sim --features planted
	cargo build --release $(PROGRAMS)
	$(RELEASE)/exo sim run --schedules $(SCHEDULES)

planted: ## every mistake planted into the ring is found by the simulator; prints docs/planted.md's table
	$(WITHOUT_LTO) cargo test --release -p exo-sim --features planted --test planted -- --include-ignored --nocapture --test-threads=1

models: ## step: the ring's rules and the published ones, state by state, optimised
	$(WITHOUT_LTO) cargo test --release -p exo-models $(if $(EXO_SOAK),-- --include-ignored --test-threads=1)

loom: ## step: every interleaving of small rings
	CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/loom RUSTFLAGS="--cfg loom" $(WITHOUT_LTO) \
	  cargo test -p libexo --release --test shm_loom

licences: ## step: licences and sources of what is linked (when cargo-deny is there)
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; \
	else echo "skipped: cargo-deny is not installed (cargo install cargo-deny)"; fi

compat: ## step: programs natively and under Exo, compared
	compat-tests/setup.sh
	@if cargo nextest --version >/dev/null 2>&1; then \
	  set -x; EXO_BIN_DIR=$(RELEASE) cargo nextest run $(if $(EXO_SOAK),--profile soak --run-ignored all) -p compat-tests; \
	else \
	  set -x; EXO_BIN_DIR=$(RELEASE) cargo test -p compat-tests -- --test-threads=1 $(if $(EXO_SOAK),--include-ignored); \
	fi

examples: ## step: every example's test
	examples/test.sh

install: ## into PREFIX (and DESTDIR)
	@test -x $(RELEASE)/exo || $(MAKE) build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/exo $(DESTDIR)$(PREFIX)/lib/systemd/system \
	           $(DESTDIR)$(PREFIX)/share/doc/exo $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 755 $(RELEASE)/exo $(RELEASE)/exod $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(RELEASE)/libexo_shim.so $(DESTDIR)$(PREFIX)/lib/exo
	sed 's|@PREFIX@|$(PREFIX)|g' monitor/dist/exod.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/exod.service
	install -m 644 monitor/dist/exo.toml README.md LICENSE-APACHE LICENSE-MIT $(DESTDIR)$(PREFIX)/share/doc/exo
	$(RELEASE)/exo completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/exo
	@echo "installed. System monitor: copy $(PREFIX)/share/doc/exo/exo.toml to /etc/exo/, then systemctl enable --now exod"

uninstall: ## what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/exo $(DESTDIR)$(PREFIX)/bin/exod \
	      $(DESTDIR)$(PREFIX)/lib/systemd/system/exod.service \
	      $(DESTDIR)$(PREFIX)/share/bash-completion/completions/exo
	rm -rf $(DESTDIR)$(PREFIX)/lib/exo $(DESTDIR)$(PREFIX)/share/doc/exo

clean: ## what was built
	cargo clean
	rm -rf bench/out examples/*/bin
