#!/usr/bin/env bash
# `make interop`: our binary against the real LMCache, in both directions. Installs LMCache once (see scripts/peers.sh).
# The last line is "N passed, N failed"; the exit code is 1 if any failed.
#
# LMCACHE_BENCH_BIN names another binary to check. TMPDIR must lie on a file system that takes O_DIRECT.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${LMCACHE_BENCH_BIN:-}" ]; then
    cargo build --release
fi
lmcache=$(scripts/peers.sh lmcache | tail -n 1)

# /var/tmp, because /tmp is often a tmpfs, where O_DIRECT is refused or means nothing.
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/lmcache-bench-interop.XXXXXX")
trap 'rm -rf -- "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if ! dd if=/dev/zero of="$scratch/probe" bs=4096 count=1 oflag=direct status=none; then
    echo "interop: ${scratch%/*} does not take O_DIRECT: set TMPDIR to a directory on a disk" >&2
    exit 1
fi
rm -f "$scratch/probe"

export LMCACHE_LOG_LEVEL=ERROR LMCACHE_DISABLE_BANNER=1 PYTHONDONTWRITEBYTECODE=1
"$lmcache/bin/python" -W ignore::FutureWarning scripts/interop/fs.py "$scratch"
