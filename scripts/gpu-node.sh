#!/usr/bin/env bash
# All that is measured on a GPU node, in one run (scripts/gpu-bundle.sh packs what it needs):
#
#   scripts/gpu-node.sh OUT [PART...]
#
# PARTs, all of them by default: check (scripts/gpu-check.sh), side (scripts/measure/gpu-side-by-side), kernel
# (scripts/gpu-kernel.sh). OUT gets a table of each and the whole output. The node has python3 with torch; LMCache is installed
# from the bundle's wheels into a temporary environment. Every part has a time limit, and a part that fails does not end the others.
set -uo pipefail
out=${1:?usage: gpu-node.sh OUT [PART...]}
shift
parts=${*:-check side kernel}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
begun=$SECONDS status=0
say() { printf '%4d s  %s\n' $((SECONDS - begun)) "$*"; }

{
    date -u +%F
    uname -sr
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory,pcie.link.gen.max,pcie.link.width.max \
        --format=csv
    nvcc --version | tail -n 2
    nproc
    free -g | head -n 2
} >"$out/node.txt" 2>&1

export BIN=${BIN:-$PWD/bin} PYTHON=${PYTHON:-python3} LOG=$out/check.log
export LMCACHE_BENCH_BIN=$BIN/lmcache-bench LMCACHE_BENCH_PEERS=$work/peers

# As scripts/peers/peers.sh installs it, but with the packages of the node's Python behind the wheels.
install_lmcache() {
    local version environment
    version=$(basename wheels/lmcache-*.whl | cut -d- -f2)
    environment=$LMCACHE_BENCH_PEERS/lmcache-$version
    mkdir -p "$LMCACHE_BENCH_PEERS"
    "$PYTHON" -m venv --without-pip "$environment"
    "$PYTHON" -m pip --python "$environment/bin/python" install -q --no-index --no-deps --no-compile --no-cache-dir wheels/*.whl
    "$PYTHON" -c 'import site; print("\n".join(site.getsitepackages()))' >"$(echo "$environment"/lib/python3*/site-packages)/node.pth"
    touch "$environment/.complete"
    PYTHON=$environment/bin/python
    "$PYTHON" -c 'import torch, lmcache; print("torch", torch.__version__, "with CUDA", torch.version.cuda, "lmcache", lmcache.__file__)'
}

# SECONDS NAME COMMAND...
part() {
    local limit=$1 name=$2 code
    shift 2
    timeout -k 10 "$limit" "$@" >"$out/$name.log" 2>&1
    code=$?
    say "$name: exit code $code"
    [ $code = 0 ] || { status=1; tail -n 15 "$out/$name.log"; }
}

if [ -d wheels ]; then
    install_lmcache >>"$out/node.txt" 2>&1 || say "LMCache could not be installed: see node.txt"
fi
say "ready with $PYTHON"
for name in $parts; do
    case $name in
        check) part "${CHECK_S:-240}" check-run scripts/gpu-check.sh "$out/check.md" ;;
        side) part "${SIDE_S:-240}" side scripts/measure/gpu-side-by-side --rounds "${ROUNDS:-3}" --out "$out/side.md" ;;
        kernel) part "${KERNEL_S:-120}" kernel scripts/gpu-kernel.sh ;;
        *) echo "gpu-node: no part '$name'; the parts are check, side and kernel" >&2; exit 2 ;;
    esac
done
exit $status
