#!/usr/bin/env bash
# The fs adapter and the real one on the same directories, in both directions.
set -euo pipefail
lmcache=$(scripts/peers.sh lmcache | tail -n 1)
exec "$lmcache/bin/python" -W ignore::FutureWarning scripts/interop/fs.py "$1"
