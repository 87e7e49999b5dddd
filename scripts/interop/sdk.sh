#!/usr/bin/env bash
# LMCache's own adapters with the SDKs, extensions and services that its wheel does not bring, through the bridge.
set -euo pipefail
lmcache=$(scripts/peers.sh lmcache | tail -n 1)
exec "$lmcache/bin/python" -W ignore scripts/interop/sdk.py "$@"
