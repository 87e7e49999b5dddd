#!/usr/bin/env bash
# The reference client and ours against a recording server: the same requests, byte for byte; config files both ways.
set -euo pipefail
lmcache=$(scripts/peers.sh lmcache | tail -n 1)
exec python3 scripts/interop/engine_requests.py "$1" "$lmcache/bin/lmcache"
