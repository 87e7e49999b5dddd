#!/usr/bin/env bash
# The reference client and ours against a recording server: the same requests, byte for byte; config files both ways.
set -euo pipefail
. scripts/lib/peers.sh
need lmcache lmcache
exec python3 -m interop.engine_requests "$1" "$lmcache/bin/lmcache"
