#!/usr/bin/env bash
# LMCache's real adapters through the Python helper, against our native ones and against themselves.
set -euo pipefail
. scripts/lib/peers.sh
need lmcache lmcache
exec "$lmcache/bin/python" -W ignore -m interop.bridge "$1"
