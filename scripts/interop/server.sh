#!/usr/bin/env bash
# The server benchmark against real cache servers of every release, and beside the real client.
# SERVER_RELEASES names fewer releases, as in "0.5.0 0.5.6".
set -euo pipefail
lmcache=$(scripts/peers.sh lmcache | tail -n 1)
for release in ${SERVER_RELEASES:-0.5.0 0.5.1 0.5.2 0.5.3 0.5.4 0.5.5}; do
    [ "$release" = 0.5.6 ] || scripts/peers.sh lmcache-wheel "$release" >/dev/null
done
exec "$lmcache/bin/python" scripts/interop/server.py "$1"
