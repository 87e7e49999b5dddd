#!/usr/bin/env bash
# Runs the l2 benchmark: on L2_ADAPTER_JSON if it is set, else with the fs adapter on a fresh directory that is removed
# afterwards. Usage: bench-l2.sh BINARY [FLAG...]
set -euo pipefail
binary=$1
shift
if [ -z "${L2_ADAPTER_JSON:-}" ]; then
    directory=$(mktemp -d "${TMPDIR:-/tmp}/lmcache-bench-l2.XXXXXX")
    trap 'rm -rf "$directory"' EXIT
    export L2_ADAPTER_JSON="{\"type\":\"fs\",\"base_path\":\"$directory\",\"use_odirect\":true}"
fi
# Flags given by the caller come last and win.
"$binary" l2 --in-flight 4 --data-size-kb 1024 --rounds 3 --lookup-max-hit-rate 0.5 --no-skip-verify "$@"
