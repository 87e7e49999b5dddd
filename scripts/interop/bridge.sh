#!/usr/bin/env bash
# LMCache's real adapters through the Python helper, against our native ones and against themselves.
set -euo pipefail
lmcache=$(scripts/peers.sh lmcache | tail -n 1)
exec "$lmcache/bin/python" -W ignore::FutureWarning scripts/interop/bridge.py "$1"
