#!/usr/bin/env bash
# fs_native, raw_block, dax, fault_inject, mock and nixl's names beside LMCache's own, on the same files and devices.
set -euo pipefail
lmcache=$(scripts/peers.sh lmcache | tail -n 1)
if extension=$(scripts/peers.sh raw-block | tail -n 1); then
    export PYTHONPATH=$extension
else
    echo "blocks: LMCache's raw_block runs with a stand-in for its extension (see above)"
fi
exec "$lmcache/bin/python" -W ignore::FutureWarning scripts/interop/blocks.py "$1"
