#!/usr/bin/env bash
# The server benchmark against real cache servers of every release, and beside the real client.
# SERVER_RELEASES names fewer releases than scripts/peers/lmcache-releases, as in "0.5.0 0.5.6".
set -euo pipefail
. scripts/lib/peers.sh
need lmcache lmcache
exec "$lmcache/bin/python" -m interop.server "$1"
