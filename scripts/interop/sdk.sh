#!/usr/bin/env bash
# LMCache's own adapters with the SDKs, extensions and services that its wheel does not bring, through the bridge.
set -euo pipefail
. scripts/lib/peers.sh
need lmcache lmcache
exec "$lmcache/bin/python" -W ignore -m interop.sdk "$@"
