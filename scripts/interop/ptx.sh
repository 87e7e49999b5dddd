#!/usr/bin/env bash
# The checked-in PTX against a fresh build by nvcc from the package index, and the driver's functions against its header.
set -uo pipefail
passed=0 failed=0
check() {
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}
nvcc=$(scripts/peers.sh nvcc | tail -n 1)
export NVCC=$nvcc
check scripts/ptx.sh --check
check python3 scripts/interop/cuda_abi.py "${nvcc%/bin/nvcc}/include" "$1"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
