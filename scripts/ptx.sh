#!/usr/bin/env bash
# Builds cuda/checksum.ptx from cuda/checksum.cu (`make ptx`), or with --check compares a fresh build with the checked-in file.
#
# NVCC names the compiler; without it nvcc from PATH is used, else scripts/peers/peers.sh nvcc installs one of release 13.0 from the
# package index. No GPU is needed. Exit 1 when --check finds a difference.
set -euo pipefail
cd "$(dirname "$0")/.."

nvcc=${NVCC:-$(command -v nvcc || scripts/peers/peers.sh nvcc | tail -n 1)}
built=$(mktemp)
trap 'rm -f "$built"' EXIT
# 7.5 is the oldest architecture that this compiler takes; drivers compile the text for whatever they find.
"$nvcc" -ptx -arch=compute_75 -O3 -o "$built" cuda/checksum.cu
# The compiler writes its newest version of the PTX language, which older drivers refuse; the text uses nothing newer than 7.0.
sed -i 's/^\.version .*/.version 7.0/' "$built"
if [ "${1:-}" = --check ]; then
    # The header names the compiler's build and is not compared.
    if diff <(grep -v '^//' cuda/checksum.ptx) <(grep -v '^//' "$built"); then
        echo "cuda/checksum.ptx is what $("$nvcc" --version | grep -o 'release [0-9.]*') makes of cuda/checksum.cu"
    else
        echo "cuda/checksum.ptx is not what $nvcc makes of cuda/checksum.cu: run make ptx" >&2
        exit 1
    fi
else
    cp "$built" cuda/checksum.ptx
fi
