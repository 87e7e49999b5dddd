# Thin over cargo. Everything needs a Rust toolchain and a C++ compiler (libzmq, for `server --wire libzmq` and the tests). With
# CARGO_FLAGS=--no-default-features all but `make test` builds without libzmq and needs a C compiler only. `make help` lists the
# targets.
CARGO ?= cargo
CARGO_FLAGS ?=
PREFIX ?= /usr/local
DESTDIR ?=
# Extra flags for bench-l2, for example ARGS='--rounds 5 --data-size-kb 1024'
ARGS ?=
# How long fuzz runs, all targets together
SECONDS ?= 120
# Tests mostly wait, for servers and clocks of their own
RUST_TEST_THREADS ?= $(shell expr 2 \* $$(nproc))
TARGET := x86_64-unknown-linux-gnu
STATIC_BIN := target/$(TARGET)/release-lto/lmcache-bench
RELEASE_BIN := target/release-lto/lmcache-bench

.PHONY: help build release static test lint interop fuzz bench-l2 demo ptx install docs clean

## build: the binary for this machine, target/release/lmcache-bench (the default)
build:
	$(CARGO) build --release --locked $(CARGO_FLAGS)

# Dynamically linked to glibc only: Rust's libraries ask for the shared libgcc_s and libzmq for the shared libstdc++, and linker
# scripts of these names take the same functions from the static libraries.
## release: the same, optimised across crates and stripped; needs glibc alone
release:
	mkdir -p target/static-libs
	echo 'INPUT(-lgcc_eh -lgcc)' > target/static-libs/libgcc_s.so
	echo 'INPUT(-l:libstdc++.a)' > target/static-libs/libstdc++.so
	$(CARGO) rustc --profile release-lto --locked $(CARGO_FLAGS) --bin lmcache-bench -- -L native=$(CURDIR)/target/static-libs

# At a fixed address, because the relocation table would take half a MiB.
## static: one file that runs on any x86-64 Linux
static:
	RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static -C link-arg=-Wl,--icf=all' $(CARGO) build --profile release-lto --locked $(CARGO_FLAGS) --target $(TARGET)
	@ls -l $(STATIC_BIN) | awk '{ printf "%s: %.1f MiB\n", $$NF, $$5 / 1048576 }'

## test: formatting, lints, unit and integration tests
test: lint
	RUST_TEST_THREADS=$(RUST_TEST_THREADS) $(CARGO) test --locked

## lint: formatting and lints alone
lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

## interop: checks against the real LMCache and servers (14 GiB, installed once)
interop:
	scripts/interop.sh

## fuzz: all fuzz targets for SECONDS=120 together (the first build takes 3 minutes; see fuzz/README.md)
fuzz:
	scripts/fuzz.sh $(SECONDS)

## bench-l2: the main job on a fresh temporary directory, or on L2_ADAPTER_JSON if that is set; ARGS adds flags
bench-l2: build
	scripts/bench-l2.sh target/release/lmcache-bench $(ARGS)

## demo: the engine benchmark against the mock engine, with one cache tier more in each run (35 s, needs python3)
demo: build
	scripts/demo.sh target/release/lmcache-bench

## install: release binary, man page and completions below DESTDIR/PREFIX
install: release
	install -D -m 755 $(RELEASE_BIN) $(DESTDIR)$(PREFIX)/bin/lmcache-bench
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(RELEASE_BIN) --generate man > $(DESTDIR)$(PREFIX)/share/man/man1/lmcache-bench.1
	$(RELEASE_BIN) --generate complete-bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/lmcache-bench
	$(RELEASE_BIN) --generate complete-zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_lmcache-bench
	$(RELEASE_BIN) --generate complete-fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/lmcache-bench.fish

# A test fails when docs/cli.md is stale.
## docs: docs/cli.md from the flag tables
docs: build
	target/release/lmcache-bench --generate cli-md > docs/cli.md

# The file is checked in, so that a build needs no nvcc.
## ptx: cuda/*.ptx from their sources
ptx:
	scripts/ptx.sh

## clean: removes target/
clean:
	$(CARGO) clean

## help: this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)
