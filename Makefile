# Thin over cargo. `make bench-l2` and `make test` need a Rust toolchain and nothing else.
CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
# Extra flags for bench-l2, for example ARGS='--rounds 5 --data-size-kb 1024'
ARGS ?=
TARGET := x86_64-unknown-linux-gnu
STATIC_BIN := target/$(TARGET)/release-lto/lmcache-bench
RELEASE_BIN := target/release-lto/lmcache-bench

.PHONY: build release static test lint interop bench-l2 demo ptx install docs clean

build:
	$(CARGO) build --release --locked

# What people copy: optimised across crates, stripped, dynamically linked to glibc only.
release:
	$(CARGO) build --profile release-lto --locked

# One file that runs on any x86-64 Linux. At a fixed address: the table that would let it move has half a MiB.
static:
	RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static -C link-arg=-Wl,--icf=all' $(CARGO) build --profile release-lto --locked --target $(TARGET)
	@ls -l $(STATIC_BIN) | awk '{ printf "%s: %.1f MiB\n", $$NF, $$5 / 1048576 }'

test: lint
	$(CARGO) test --locked

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

# Drives the real LMCache; installs it once outside the checkout (about 7 GiB, minutes).
interop:
	scripts/interop.sh

# The main job on a fresh temporary directory, or on L2_ADAPTER_JSON if that is set.
bench-l2: build
	scripts/bench-l2.sh target/release/lmcache-bench $(ARGS)

# What each cache tier is worth: the engine benchmark against the mock engine (35 s, no GPU, needs python3).
demo: build
	scripts/demo.sh target/release/lmcache-bench

install: release
	install -D -m 755 $(RELEASE_BIN) $(DESTDIR)$(PREFIX)/bin/lmcache-bench
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(RELEASE_BIN) --generate man > $(DESTDIR)$(PREFIX)/share/man/man1/lmcache-bench.1
	$(RELEASE_BIN) --generate complete-bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/lmcache-bench
	$(RELEASE_BIN) --generate complete-zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_lmcache-bench
	$(RELEASE_BIN) --generate complete-fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/lmcache-bench.fish

# docs/cli.md comes from the flag table; a test fails when it is stale.
docs: build
	target/release/lmcache-bench --generate cli-md > docs/cli.md

# The kernel's PTX, which is checked in so that building needs no nvcc.
ptx:
	scripts/ptx.sh

clean:
	$(CARGO) clean
