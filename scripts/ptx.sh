#!/usr/bin/env bash
# Builds the .ptx files of cuda/ from its .cu files (`make ptx`), or with --check compares a fresh build with the checked-in files.
#
# NVCC names the compiler; without it nvcc from PATH is used, else scripts/peers/peers.sh nvcc installs one of release 13.0 from the
# package index. No GPU is needed. Exit 1 when --check finds a difference.
set -euo pipefail
cd "$(dirname "$0")/.."

nvcc=${NVCC:-$(command -v nvcc || scripts/peers/peers.sh nvcc | tail -n 1)}
built=$(mktemp)
trap 'rm -f "$built"' EXIT
for source in cuda/*.cu; do
    text=${source%.cu}.ptx
    # 7.5 is the oldest architecture that this compiler takes; drivers compile the text for whatever they find.
    "$nvcc" -ptx -arch=compute_75 -O3 -o "$built" "$source"
    # The compiler writes its newest version of the PTX language, which older drivers refuse; the text uses nothing newer than 7.0.
    sed -i 's/^\.version .*/.version 7.0/' "$built"
    if [ "${1:-}" != --check ]; then
        cp "$built" "$text"
    # The header names the compiler's build and is not compared.
    elif diff <(grep -v '^//' "$text") <(grep -v '^//' "$built"); then
        echo "$text is what $("$nvcc" --version | grep -o 'release [0-9.]*') makes of $source"
    else
        echo "$text is not what $nvcc makes of $source: run make ptx" >&2
        exit 1
    fi
done
