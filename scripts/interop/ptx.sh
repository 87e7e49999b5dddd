#!/usr/bin/env bash
# What can be checked of `--mode gpu` without a GPU: the checked-in PTX against a fresh build by nvcc from the package index, the
# kernels' source run on the CPU, the driver's functions against its header, and our descriptors of CUDA memory in the classes
# of every LMCache release.
set -uo pipefail
. scripts/lib/peers.sh
passed=0 failed=0
check() {
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL  $*"
    fi
}
# Spilled registers would cost memory traffic.
assembles() {
    local output
    output=$("${nvcc%nvcc}ptxas" -v "-arch=$1" cuda/checksum.ptx -o "$2/$1.cubin" 2>&1) || { echo "$output"; return 1; }
    if grep -q ' [1-9][0-9]* bytes spill' <<<"$output"; then
        echo "$output"
        return 1
    fi
    echo "ptxas takes cuda/checksum.ptx for $1 without spilling"
}
need nvcc nvcc
need lmcache lmcache
export NVCC=$nvcc
check scripts/ptx.sh --check
for architecture in sm_75 sm_80 sm_90 sm_100; do
    check assembles "$architecture" "$1"
done
check python3 -m interop.cuda_abi "${nvcc%/bin/nvcc}/include" "$1"
check g++ -std=c++20 -O1 -pthread -o "$1/kernel_on_cpu" scripts/interop/kernel_on_cpu.cpp
check "$1/kernel_on_cpu"
while read -r release mark; do
    if [ "$mark" = installed ]; then
        wheel=$PYTHONPATH
    else
        need wheel lmcache-wheel "$release"
    fi
    PYTHONPATH=$wheel:$PYTHONPATH check "$lmcache/bin/python" -W ignore -m interop.cuda_descriptors "$release" </dev/null
done < <(grep -v '^#' scripts/peers/lmcache-releases)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
