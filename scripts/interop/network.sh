#!/usr/bin/env bash
# resp, valkey and s3 against real servers, and LMCache's own adapters on the same data, in both directions.
set -euo pipefail
lmcache=$(scripts/peers.sh lmcache | tail -n 1)
glide=$(scripts/peers.sh glide | tail -n 1)
exec env GLIDE="$glide" "$lmcache/bin/python" -W ignore::FutureWarning scripts/interop/network.py "$1"
