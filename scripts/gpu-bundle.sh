#!/usr/bin/env bash
# Packs what a GPU node without toolchain and network needs for the checks and measurements of `--mode gpu`:
#
#   scripts/gpu-bundle.sh [WHEELS]     writes target/gpu-bundle.tar.gz
#
# WHEELS is a folder with wheels of LMCache and what the node's Python lacks of its needs; without it nothing is compared with
# LMCache. On the node: tar -xzf gpu-bundle.tar.gz && gpu-bundle/scripts/gpu-node.sh OUT
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
made=target/gpu-bundle
rm -rf "$made"
mkdir -p "$made/bin"
for program in lmcache-bench gpu-check; do
    strip -o "$made/bin/$program" "target/release/$program"
done
cp -r cuda "$made"
mkdir "$made/scripts"
cp -r scripts/gpu-* scripts/lib scripts/measure scripts/peers "$made/scripts"
find "$made" -name __pycache__ -prune -exec rm -r {} +
if [ -n "${1:-}" ]; then
    cp -r "$1" "$made/wheels"
fi
tar -czf "$made.tar.gz" -C target gpu-bundle
ls -l "$made.tar.gz" | awk '{ printf "%s: %.1f MiB\n", $NF, $5 / 1048576 }'
