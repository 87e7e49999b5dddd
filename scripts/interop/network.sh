#!/usr/bin/env bash
# resp, valkey and s3 against real servers, and LMCache's own adapters on the same data, in both directions.
set -euo pipefail
. scripts/lib/peers.sh
need lmcache lmcache
need glide glide
PYTHONPATH+=:$glide exec "$lmcache/bin/python" -W ignore -m interop.network "$1"
