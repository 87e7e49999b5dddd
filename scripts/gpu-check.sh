#!/usr/bin/env bash
# Checks of `--mode gpu` that need a GPU, as one table. Build first where there is a toolchain:
#
#   cargo build --release && scripts/gpu-check.sh [OUT.md]
#
# BIN names the folder with lmcache-bench and gpu-check (default target/release), so that both can be carried to a node without
# a toolchain (scripts/gpu-bundle.sh). PYTHON names an interpreter for the second process, with torch and LMCache for the last
# part where they are (default python3). LOG names a file for the whole output of every check, and PARTS which checks to do
# (default "own lmcache sanitizer"). Each check has a time limit. The exit code is 1 if a check failed; checks that cannot run
# here are listed and do not fail.
set -uo pipefail
cd "$(dirname "$0")/.."
export bin=${BIN:-target/release} python=${PYTHON:-python3}
out=${1:-}
for program in lmcache-bench gpu-check; do
    [ -x "$bin/$program" ] || { echo "gpu-check: $bin/$program is missing: run cargo build --release, or name its folder in BIN" >&2; exit 1; }
done
scratch=$(mktemp -d)
log=${LOG:-$scratch/log}
: >"$log" || exit 1
export scratch
servers=()
cleanup() {
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; done
    rm -rf "$scratch"
}
trap cleanup EXIT
rows=() failed=0
row() { rows+=("| $1 | $2 | $3 |"); [ "$2" != FAILED ] || failed=1; }

# NAME SECONDS COMMAND...: a row that says passed or FAILED, with the last line of the output.
check() {
    local name=$1 limit=$2 result begun=$SECONDS code
    shift 2
    # A shell of its own, because functions cannot be given to timeout.
    timeout -k 5 "$limit" bash -uc '"$@"' bash "$@" >"$scratch/check" 2>&1
    code=$?
    case $code in
        0) result=passed ;;
        124 | 137) result=FAILED; echo "no end within $limit s" >>"$scratch/check" ;;
        *) result=FAILED ;;
    esac
    { echo "== $name: $result, exit code $code, $((SECONDS - begun)) s"; cat "$scratch/check"; } >>"$log"
    # The last line that is not a separator.
    row "$name" $result "$(grep -v '^[=-]*$' "$scratch/check" | tail -n 1)"
}

# The driver's device 0, by the number that nvidia-smi gives it.
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export device=${CUDA_VISIBLE_DEVICES:-0}
free_mib() { nvidia-smi --query-gpu=memory.free --format=csv,noheader,nounits -i "${device%%,*}" 2>/dev/null | head -n 1; }

# URL PID SECONDS: whether the process answers there in time. Nodes often lack curl.
answers() {
    "$python" - "$@" <<'PY'
import sys, time, urllib.request
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end and open(f"/proc/{sys.argv[2]}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5).read()
        sys.exit(0)
    except OSError:
        time.sleep(0.5)
sys.exit(1)
PY
}

find_sanitizer() {
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
        "$python" scripts/gpu-ipc-peer.py $line || status=1
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
export shape='(2,256,16,8,128):float16:32' mla='(1,1024,16,1,576):bfloat16:32'

# RPC_URL HTTP_URL FLAG...: a short run; the last line is its result.
gpu_run() {
    local report=$scratch/report
    "$bin/lmcache-bench" server --mode gpu --rpc-url "$1" --url "$2" --start 0 --end 3 --interval 0.05 \
        --kvcache-shape-spec "$shape" --output "$report" "${@:3}" || return 1
    echo "$(sed -n 's/^Transfer: *//p' "$report"): $(sed -n 's/^Pass rate (%): *//p' "$report") % passed"
}

# From the start of the program to the end of its first store, less the time of driver, context and kernels in a process of
# their own.
first_store() {
    local driver store report=$scratch/report
    driver=$("$bin/gpu-check" start) || { echo "$driver"; return 1; }
    driver=${driver##* }
    "$bin/lmcache-bench" server --mode gpu --rpc-url "$rpc" --url "$http" --start 0 --end 1 --interval 0 -q \
        --kvcache-shape-spec "$shape" --output "$report" || return 1
    store=$(sed -n 's/^Start to end of first store (ms): *\([0-9]*\).*/\1/p' "$report")
    echo "$store ms to the end of the first store, $driver ms of it for the driver"
    [ $((store - driver)) -lt 1000 ]
}

# FREE_MIB: waits up to 10 s until as much memory is free again.
all_free_again() {
    local left end=$((SECONDS + 10))
    until left=$(free_mib) && [ "$left" -ge $(($1 - 16)) ]; do
        [ $SECONDS -lt $end ] || { echo "$1 MiB free before, $left after"; return 1; }
        sleep 0.5
    done
    echo "$1 MiB free before, $left after"
}

# SIGNAL: ends a run half-way.
ended_by() {
    local free victim
    free=$(free_mib)
    # Shells without job control start background programs with SIGINT ignored.
    env --default-signal=INT "$bin/lmcache-bench" server --mode gpu --rpc-url "$rpc" --url "$http" -q \
        --kvcache-shape-spec "$shape" >/dev/null 2>&1 &
    victim=$!
    # Less memory is free: the tensors are allocated.
    for _ in {1..100}; do
        [ "$(free_mib)" -ge $((free - 512)) ] || break
        sleep 0.1
    done
    kill "-$1" $victim || { echo "the run had ended before the signal"; return 1; }
    # A child with a timer would run this script's clean-up when it is killed.
    for _ in {1..300}; do
        kill -0 $victim 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL $victim 2>/dev/null
    wait $victim 2>/dev/null
    all_free_again "$free"
}
export -f free_mib answers ipc gpu_run first_store all_free_again ended_by

start_mock() {
    : >"$scratch/mock"
    "$bin/lmcache-bench" mock server --port 0 --http-port 0 "$@" >"$scratch/mock" &
    servers+=($!)
    until grep -q '^listening' "$scratch/mock"; do
        kill -0 "${servers[-1]}" 2>/dev/null || return 1
        sleep 0.05
    done
    read -r _ _ rpc http <"$scratch/mock"
    export rpc http
}

# PORT FLAG...: LMCache's server there, and its HTTP API 100 above.
start_lmcache() {
    LMCACHE_TRACK_USAGE=false "$python" -m lmcache.cli.main server --host 127.0.0.1 --port "$1" --http-host 127.0.0.1 \
        --http-port $(($1 + 100)) --l1-size-gb 4 --eviction-policy LRU --supported-transfer-mode auto --chunk-size 256 \
        "${@:2}" >"$scratch/lmcache-$1" 2>&1 &
    servers+=($!)
}

against_lmcache() {
    local port=15956 mode which
    # The second one offers its memory to clients on its host, which it does only if all of it is allocated at once.
    start_lmcache $port
    start_lmcache $((port + 1)) --shm-name "gpu-check-$$" --no-l1-use-lazy
    for which in 0 1; do
        if ! answers "http://127.0.0.1:$((port + 100 + which))/status" "${servers[which - 2]}" 120; then
            row "LMCache starts" FAILED "$(tail -n 1 "$scratch/lmcache-$((port + which))")"
            cat "$scratch/lmcache-$((port + which))" >>"$log"
            return
        fi
    done
    local inline=(tcp://127.0.0.1:$port http://127.0.0.1:$((port + 100)))
    local shared=(tcp://127.0.0.1:$((port + 1)) http://127.0.0.1:$((port + 101)))
    check "LMCache, --transfer-mode auto" 60 gpu_run "${inline[@]}"
    for mode in lmcache_driven engine_driven; do
        check "LMCache, --transfer-mode $mode" 60 gpu_run "${inline[@]}" --transfer-mode $mode
        check "LMCache, $mode, two ranks" 60 gpu_run "${inline[@]}" --transfer-mode $mode --tp-size 2
        check "LMCache, $mode, MLA" 60 gpu_run "${inline[@]}" --transfer-mode $mode --kvcache-shape-spec "$mla" --use-mla
    done
    check "LMCache, lmcache_driven, two clients" 60 gpu_run "${inline[@]}" --concurrency 2
    check "LMCache, lmcache_driven, random blocks" 60 gpu_run "${inline[@]}" --block-allocation random
    check "LMCache with --shm-name, engine_driven" 60 gpu_run "${shared[@]}" --transfer-mode engine_driven
    check "LMCache with --shm-name, engine_driven, two ranks" 60 gpu_run "${shared[@]}" --transfer-mode engine_driven --tp-size 2
    check "LMCache with --shm-name, engine_driven, random blocks" 60 \
        gpu_run "${shared[@]}" --transfer-mode engine_driven --block-allocation random
    check "LMCache with --shm-name, engine_driven, MLA" 60 \
        gpu_run "${shared[@]}" --transfer-mode engine_driven --kvcache-shape-spec "$mla" --use-mla
    for which in $port $((port + 1)); do
        { echo "== log of LMCache's server on port $which"; tail -n 100 "$scratch/lmcache-$which"; } >>"$log"
    done
}

if ! "$bin/gpu-check" twin >"$scratch/twin" 2>&1 && grep -q 'could not load the CUDA driver' "$scratch/twin"; then
    cat "$scratch/twin"
    echo "gpu-check: no GPU here, nothing was checked"
    exit 1
fi
own() {
    check "kernels equal their CPU twins" 60 "$bin/gpu-check" twin
    check "IPC: a second process opens the allocation" 60 ipc
    local bar="checksum at least 0.85 of a plain read from 64 MiB on" mode
    if ! timeout 60 "$bin/gpu-check" speed >"$scratch/speed" 2>&1; then
        row "$bar" FAILED "$(tail -n 1 "$scratch/speed")"
    elif grep -q missed "$scratch/speed"; then
        row "$bar" FAILED "see below"
    else
        row "$bar" passed "see below"
    fi
    { echo "== speed"; cat "$scratch/speed"; } >>"$log"
    start_mock || { row "mock server" FAILED "it did not start: $(tail -n 1 "$scratch/mock")"; return; }
    for mode in auto lmcache_driven engine_driven; do
        check "mock server, --transfer-mode $mode" 30 gpu_run "$rpc" "$http" --transfer-mode $mode
    done
    check "mock server, two ranks" 30 gpu_run "$rpc" "$http" --tp-size 2
    check "mock server, MLA" 30 gpu_run "$rpc" "$http" --kvcache-shape-spec "$mla" --use-mla
    check "start to first store, under 1 s beyond the driver" 30 first_store
    if [ -n "$before" ]; then
        check "memory left after Ctrl-C" 60 ended_by INT
        check "memory left after kill -9" 60 ended_by KILL
    else
        row "memory left after Ctrl-C and kill -9" "not run" "nvidia-smi does not say how much memory is free"
    fi
}

lmcache() {
    if "$python" -c 'import torch, lmcache; assert torch.cuda.is_available()' >>"$log" 2>&1; then
        against_lmcache
    else
        row "LMCache with all GPU modes" "not run" "torch with CUDA and lmcache are not importable by $python"
    fi
}

sanitizer() {
    local tool_path tool
    tool_path=$(find_sanitizer) \
        || { row "compute-sanitizer" "not run" "it is not on PATH nor below CUDA_HOME, /usr/local/cuda* or /opt/nvidia"; return; }
    for tool in memcheck racecheck; do
        check "compute-sanitizer $tool" "${SANITIZER_S:-600}" "$tool_path" --tool "$tool" --error-exitcode 9 "$bin/gpu-check" twin
    done
}

before=$(free_mib)
for part in ${PARTS:-own lmcache sanitizer}; do
    "$part"
done
for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
servers=()
if [ -n "$before" ]; then
    check "no device memory left" 30 all_free_again "$before"
else
    row "no device memory left" "not run" "nvidia-smi does not say how much memory is free"
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
    cat "$scratch/speed" 2>/dev/null
} | tee ${out:+"$out"}
exit $failed
