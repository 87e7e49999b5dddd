#!/usr/bin/env bash
# The checked-in PTX against a fresh build by nvcc from the package index.
set -uo pipefail
if scripts/ptx.sh --check; then
    echo "1 passed, 0 failed"
else
    echo "0 passed, 1 failed"
    exit 1
fi
