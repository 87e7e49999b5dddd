#!/usr/bin/env bash
# fs_native, raw_block, dax, fault_inject, mock and nixl's names beside LMCache's own, on the same files and devices.
set -euo pipefail
lmcache=$(scripts/peers.sh lmcache | tail -n 1)
exec "$lmcache/bin/python" -W ignore::FutureWarning scripts/interop/blocks.py "$1"
