#!/usr/bin/env bash
# The fs adapter and the real one on the same directories, in both directions.
set -euo pipefail
. scripts/lib/peers.sh
need lmcache lmcache
exec "$lmcache/bin/python" -W ignore -m interop.fs "$1"
