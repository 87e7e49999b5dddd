#!/usr/bin/env bash
# `make interop`: our binary against the real peers. Installs them once (see scripts/peers/peers.sh).
# The last line is "N passed, N failed, N skipped"; the exit code is 1 if any failed.
#
#   scripts/interop.sh [PART...]   parts are the files scripts/interop/*.sh; all of them when none is named
#
# Each part is a script that is run with a scratch directory as its argument. The last of its lines "N passed, N failed[, N skipped]"
# is its tally.
# LMCACHE_BENCH_BIN names another binary to check. TMPDIR must lie on a file system that takes O_DIRECT.
# A missing peer is a failure, except those of NOT_ALWAYS_THERE in scripts/lib/peers.py. With MUST_RUN=0 the checks of every missing
# peer are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${LMCACHE_BENCH_BIN:-}" ]; then
    cargo build --release
    LMCACHE_BENCH_BIN=$PWD/target/release/lmcache-bench
fi
export MUST_RUN=${MUST_RUN:-1}
export LMCACHE_BENCH_BIN LMCACHE_LOG_LEVEL=ERROR LMCACHE_DISABLE_BANNER=1 PYTHONDONTWRITEBYTECODE=1

# /var/tmp, because /tmp is often a tmpfs, where O_DIRECT is refused or means nothing.
scratch=$(realpath -- "$(mktemp -d "${TMPDIR:-/var/tmp}/lmcache-bench-interop.XXXXXX")")
# Servers have sessions of their own, so a signal that ends this run does not reach them. They log to files of the scratch directory.
clean_up() {
    find /proc/[0-9]*/fd/1 -maxdepth 0 -lname "$scratch/*" 2>/dev/null | cut -d / -f 3 | xargs -r kill -KILL 2>/dev/null || true
    rm -rf -- "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if ! dd if=/dev/zero of="$scratch/probe" bs=4096 count=1 oflag=direct status=none; then
    echo "interop: ${scratch%/*} does not take O_DIRECT: set TMPDIR to a directory on a disk" >&2
    exit 1
fi
rm -f "$scratch/probe"
# A build beside this run must not replace the binary. On a file system without executables the copy is of no use.
cp --reflink=auto "$LMCACHE_BENCH_BIN" "$scratch/lmcache-bench"
if [ -x "$scratch/lmcache-bench" ]; then
    LMCACHE_BENCH_BIN=$scratch/lmcache-bench
fi

parts=("$@")
if [ ${#parts[@]} = 0 ]; then
    for part in scripts/interop/*.sh; do
        parts+=("$(basename "$part" .sh)")
    done
fi
passed=0 failed=0 skipped=0
for part in "${parts[@]}"; do
    echo "interop: $part"
    mkdir "$scratch/$part"
    status=0
    "scripts/interop/$part.sh" "$scratch/$part" 2>&1 | tee "$scratch/$part.log" || status=$?
    # Not simply the last line: what a part started may print after it.
    tally=$(grep -aE '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$scratch/$part.log" | tail -n 1 || true)
    if [[ $tally =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
        # A part whose tally has no failure and that still ends badly has failed.
        if [ "$status" != 0 ] && [ "${BASH_REMATCH[2]}" = 0 ]; then
            failed=$((failed + 1))
        fi
    else
        echo "interop: $part ended with status $status and no tally" >&2
        failed=$((failed + 1))
    fi
done
# Again at the end, where the tail of a long log still has it.
if [ "$failed" != 0 ]; then
    for part in "${parts[@]}"; do
        echo "interop: what failed in $part:"
        awk '/^(pass|skip|interop:|[0-9]+ passed)/ { shown = 0 } /^FAIL/ { shown = 30 } shown-- > 0' "$scratch/$part.log"
    done
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
