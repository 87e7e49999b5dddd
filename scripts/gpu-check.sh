#!/usr/bin/env bash
# Checks of `--mode gpu` that need a GPU, as one table. Build first where there is a toolchain:
#
#   cargo build --release && scripts/gpu-check.sh [OUT.md]
#
# BIN names the folder with lmcache-bench and gpu-check (default target/release), so that both can be carried to a node without
# a toolchain. PYTHON names an interpreter for the second process, with torch and LMCache for the last part where they are
# (default python3). The exit code is 1 if a check failed; checks that cannot run here are listed and do not fail.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=${BIN:-target/release}
python=${PYTHON:-python3}
out=${1:-}
for program in lmcache-bench gpu-check; do
    [ -x "$bin/$program" ] || { echo "gpu-check: $bin/$program is missing: run cargo build --release, or name its folder in BIN" >&2; exit 1; }
done
scratch=$(mktemp -d)
servers=()
cleanup() {
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; done
    rm -rf "$scratch"
}
trap cleanup EXIT
rows=() failed=0
row() { rows+=("| $1 | $2 | $3 |"); [ "$2" != FAILED ] || failed=1; }

# NAME COMMAND...: a row that says passed or FAILED, with the last line of the output.
check() {
    local name=$1 last
    shift
    if "$@" >"$scratch/log" 2>&1; then last=passed; else last=FAILED; fi
    # The last line that is not a separator.
    row "$name" $last "$(grep -v '^[=-]*$' "$scratch/log" | tail -n 1)"
}

# The driver's device 0, by the number that nvidia-smi gives it.
export CUDA_DEVICE_ORDER=PCI_BUS_ID
device=${CUDA_VISIBLE_DEVICES:-0}
free_mib() { nvidia-smi --query-gpu=memory.free --format=csv,noheader,nounits -i "${device%%,*}" 2>/dev/null | head -n 1; }

# URL SECONDS: whether something answers there in time. Nodes often lack curl.
answers() {
    "$python" - "$1" "$2" <<'PY'
import sys, time, urllib.request
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5).read()
        sys.exit(0)
    except OSError:
        time.sleep(0.5)
sys.exit(1)
PY
}

sanitizer() {
    local found
    for found in "$(command -v compute-sanitizer)" "${CUDA_HOME:-/usr/local/cuda}"/bin/compute-sanitizer \
        /usr/local/cuda*/bin/compute-sanitizer /usr/local/cuda*/compute-sanitizer/compute-sanitizer \
        /opt/nvidia/compute-sanitizer/compute-sanitizer; do
        if [ -x "$found" ]; then
            echo "$found"
            return
        fi
    done
    return 1
}

ipc() {
    local line status=0
    coproc exporter { "$bin/gpu-check" export; }
    # Copies, because bash closes its own as soon as the other process ends.
    local pid=$exporter_PID from to
    exec {from}<&"${exporter[0]}" {to}>&"${exporter[1]}"
    eval "exec ${exporter[1]}>&-"
    # The first line names the allocation, the last one is the result.
    if read -r line <&"$from"; then
        # shellcheck disable=SC2086
        timeout 120 "$python" scripts/gpu-ipc-peer.py $line || status=1
    else
        status=1
    fi
    exec {to}>&-
    cat <&"$from"
    exec {from}<&-
    wait "$pid" 2>/dev/null || status=1
    return $status
}

# 512 MiB in 32 layers: fits any device.
shape='(2,256,16,8,128):float16:32'

# RPC_URL HTTP_URL FLAG...: a short run; the last line is its result.
gpu_run() {
    local report=$scratch/report
    timeout 120 "$bin/lmcache-bench" server --mode gpu --rpc-url "$1" --url "$2" --start 0 --end 3 --interval 0.05 \
        --kvcache-shape-spec "$shape" --output "$report" "${@:3}" || return 1
    echo "$(sed -n 's/^Transfer: *//p' "$report"): $(sed -n 's/^Pass rate (%): *//p' "$report") % passed"
}

# The run of one request, store included, less the time of driver, context and kernels, measured in a process of their own.
first_store() {
    local driver begun ended
    driver=$("$bin/gpu-check" start) || { echo "$driver"; return 1; }
    driver=${driver##* }
    begun=$(date +%s%N)
    timeout 120 "$bin/lmcache-bench" server --mode gpu --rpc-url "$rpc" --url "$http" --start 0 --end 1 --interval 0 -q \
        --kvcache-shape-spec "$shape" || return 1
    ended=$((($(date +%s%N) - begun) / 1000000))
    echo "$ended ms for a run of one request, $driver ms of it for the driver"
    [ $((ended - driver)) -lt 1000 ]
}

# SIGNAL: ends a run half-way; within 10 s as much memory must be free as before it.
ended_by() {
    local free victim left end=$((SECONDS + 10))
    free=$(free_mib)
    "$bin/lmcache-bench" server --mode gpu --rpc-url "$rpc" --url "$http" -q --kvcache-shape-spec "$shape" >/dev/null 2>&1 &
    victim=$!
    sleep 2
    kill "-$1" $victim || { echo "the run had ended before the signal"; return 1; }
    # A child with a timer would run this script's clean-up when it is killed.
    for _ in {1..300}; do
        kill -0 $victim 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL $victim 2>/dev/null
    wait $victim 2>/dev/null
    until left=$(free_mib) && [ "$left" -ge $((free - 16)) ]; do
        [ $SECONDS -lt $end ] || { echo "$free MiB free before, $left after"; return 1; }
        sleep 0.5
    done
    echo "$free MiB free before, $left after"
}

start_mock() {
    : >"$scratch/mock"
    "$bin/lmcache-bench" mock server --port 0 --http-port 0 "$@" >"$scratch/mock" &
    servers+=($!)
    until grep -q '^listening' "$scratch/mock"; do
        kill -0 "${servers[-1]}" 2>/dev/null || return 1
        sleep 0.05
    done
    read -r _ _ rpc http <"$scratch/mock"
}

if ! "$bin/gpu-check" twin >"$scratch/twin" 2>&1 && grep -q 'could not load the CUDA driver' "$scratch/twin"; then
    cat "$scratch/twin"
    echo "gpu-check: no GPU here, nothing was checked"
    exit 1
fi
before=$(free_mib)
check "kernels equal their CPU twins" "$bin/gpu-check" twin
check "IPC: a second process opens the allocation" ipc
if ! "$bin/gpu-check" speed >"$scratch/speed" 2>&1; then
    row "checksum at least 0.85 of a copy" FAILED "$(tail -n 1 "$scratch/speed")"
elif grep -q missed "$scratch/speed"; then
    row "checksum at least 0.85 of a copy" FAILED "see below"
else
    row "checksum at least 0.85 of a copy" passed "see below"
fi
if tool_path=$(sanitizer); then
    for tool in memcheck racecheck; do
        check "compute-sanitizer $tool" timeout 600 "$tool_path" --tool "$tool" --error-exitcode 9 "$bin/gpu-check" twin
    done
else
    row "compute-sanitizer" "not run" "it is not on PATH nor below CUDA_HOME, /usr/local/cuda* or /opt/nvidia"
fi
if start_mock; then
    for mode in auto lmcache_driven engine_driven; do
        check "mock server, --transfer-mode $mode" gpu_run "$rpc" "$http" --transfer-mode $mode
    done
    check "mock server, two ranks" gpu_run "$rpc" "$http" --tp-size 2
    check "mock server, MLA" gpu_run "$rpc" "$http" --kvcache-shape-spec '(1,1024,16,1,576):bfloat16:32' --use-mla
    check "start to first store, under 1 s beyond the driver" first_store
    if [ -n "$before" ]; then
        check "memory left after Ctrl-C" ended_by INT
        check "memory left after kill -9" ended_by KILL
    else
        row "memory left after Ctrl-C and kill -9" "not run" "nvidia-smi does not say how much memory is free"
    fi
else
    row "mock server" FAILED "it did not start: $(tail -n 1 "$scratch/mock")"
fi
if PYTHONPATH=${PYTHONPATH:-} "$python" -c 'import torch, lmcache; assert torch.cuda.is_available()' 2>/dev/null; then
    LMCACHE_TRACK_USAGE=false "$python" -m lmcache.cli.main server --host 127.0.0.1 --port 15956 --http-host 127.0.0.1 --http-port 18956 \
        --l1-size-gb 4 --eviction-policy LRU --supported-transfer-mode auto --chunk-size 256 >"$scratch/lmcache" 2>&1 &
    servers+=($!)
    lmcache_log=$scratch/lmcache
    answers http://127.0.0.1:18956/status 180 || row "LMCache starts" FAILED "$(tail -n 1 "$lmcache_log")"
    for mode in auto lmcache_driven engine_driven; do
        check "LMCache, --transfer-mode $mode" gpu_run tcp://127.0.0.1:15956 http://127.0.0.1:18956 --transfer-mode $mode
    done
    check "LMCache, two ranks" gpu_run tcp://127.0.0.1:15956 http://127.0.0.1:18956 --tp-size 2
else
    row "LMCache with all GPU modes" "not run" "torch with CUDA and lmcache are not importable by $python"
fi
for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
after=$(free_mib)
if [ -z "$before" ] || [ -z "$after" ]; then
    row "no device memory left" "not run" "nvidia-smi does not say how much memory is free"
elif [ "$after" -ge $((before - 16)) ]; then
    row "no device memory left" passed "$before MiB free before, $after after"
else
    row "no device memory left" FAILED "$before MiB free before, $after after"
fi

{
    echo "# \`--mode gpu\` on a device"
    echo
    head -n 1 "$scratch/twin"
    echo
    echo "| check | result | |"
    echo "|---|---|---|"
    printf '%s\n' "${rows[@]}"
    echo
    cat "$scratch/speed"
} | tee ${out:+"$out"}
exit $failed
