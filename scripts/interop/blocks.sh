#!/usr/bin/env bash
# fs_native, raw_block, dax, fault_inject, mock and nixl's names beside LMCache's own, on the same files and devices.
set -euo pipefail
. scripts/lib/peers.sh
need lmcache lmcache
if extension=$(scripts/peers/peers.sh raw-block); then
    PYTHONPATH+=:$(tail -n 1 <<<"$extension")
elif [ "${MUST_RUN:-}" = 1 ]; then
    need extension raw-block
else
    echo "blocks: LMCache's raw_block runs with a stand-in for its extension (see above)"
    PYTHONPATH+=:scripts/interop/stand_in
fi
exec "$lmcache/bin/python" -W ignore -m interop.blocks "$1"
