#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/ and prints a table; the last line is "N passed, M failed", the exit code 1 after a failure.
#
#   scripts/fuzz.sh [--fast] [--markdown] SECONDS [TARGET...]                SECONDS in all, divided over the targets
#   scripts/fuzz.sh [--fast] [--markdown] [--fresh] --inputs N [TARGET...]   N inputs for each target
#
# --fresh begins with the committed corpus alone and a fixed seed, so that neither earlier runs nor the speed of the machine decide
# which inputs there are; hash maps and compared times still differ a little. With --inputs 0 it is the corpus and no more.
# --fast makes short inputs only and does not trace comparisons, which takes two thirds of the time: for the bulk of a long run,
# after one without it.
# Needs cargo and a C++ compiler, no nightly toolchain and no cargo-fuzz. JOBS is how many targets run side by side (default 2);
# SEED makes the same inputs as the last run with that seed. STRETCH_EVERY=N stretches one of N inputs to 128 KiB (default 4096; 24
# finds memory and time that grow faster than the input much sooner); a failure is repeated with the same N.
# The corpus that a run learned stays in fuzz/target/learned/TARGET for the next run, the log in fuzz/target/logs, an input that failed in
# fuzz/artifacts/TARGET. See fuzz/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

# Larger inputs find little more and take much longer; the harness stretches some of them itself.
INPUT_BYTES_MAX=4096
FAST_INPUT_BYTES_MAX=1024
# Wall time of one input: long, because other programs may use the processor. The harness limits processor time.
INPUT_SECONDS_MAX=60
RSS_MIB_MAX=1024

fail() { echo "fuzz: $*" >&2; exit 2; }
is_number() { [[ $1 =~ ^[1-9][0-9]*$ ]]; }

markdown='' inputs='' fast='' learned_in=fuzz/target/learned
if [ "${1:-}" = --fast ]; then fast=1; shift; fi
if [ "${1:-}" = --markdown ]; then markdown=1; shift; fi
if [ "${1:-}" = --fresh ]; then learned_in=fuzz/target/fresh; export SEED=${SEED:-1}; rm -rf "$learned_in"; shift; fi
if [ "${1:-}" = --inputs ]; then inputs=1; shift; fi
amount=${1:-}
is_number "$amount" || [ "$inputs$amount" = 10 ] || fail "give SECONDS or --inputs N, for example: scripts/fuzz.sh 120"
shift
targets=("$@")
for target in "${targets[@]}"; do
    [ -e "fuzz/fuzz_targets/$target.rs" ] || fail "there is no target '$target': see fuzz/fuzz_targets"
done
if [ ${#targets[@]} = 0 ]; then
    for target in fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$target" .rs)")
    done
fi
jobs=${JOBS:-2}
is_number "$jobs" || fail "JOBS is '$jobs' and not a number of targets to run side by side"
command -v "${CXX:-c++}" >/dev/null || fail "${CXX:-c++} is missing: install g++, or name a C++ compiler in CXX"

host=$(rustc -vV | sed -n 's/^host: //p')
# The flags of cargo-fuzz without the sanitizer: the readers are safe code and run three times as fast without it. With --target
# the flags do not apply to build scripts.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
build=fuzz/target
if [ -n "$fast" ]; then
    build=fuzz/target/fast
    INPUT_BYTES_MAX=$FAST_INPUT_BYTES_MAX
else
    flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
fi
RUSTFLAGS=$flags cargo build --manifest-path fuzz/Cargo.toml --target-dir "$build" --release --locked --target "$host" >&2 \
    || fail "the targets do not build: see above"
programs=$build/$host/release

if [ -n "$inputs" ]; then
    limit=-runs=$amount
else
    beside=$((jobs < ${#targets[@]} ? jobs : ${#targets[@]}))
    each=$((amount * beside / ${#targets[@]}))
    limit=-max_total_time=$((each > 0 ? each : 1))
fi

# One target; its row is left in fuzz/target/logs/TARGET.row.
run_target() {
    local target=$1 status=0 dictionary=() slowest_us=? peak_bytes=? peak_share=? begun spent inputs counted artifact
    local logs=fuzz/target/logs learned=$learned_in/$1 found=fuzz/artifacts/$1 committed
    mkdir -p "$logs" "$learned" "$found"
    rm -f "$logs/$target.stats" "$logs/$target.row"
    [ ! -e "fuzz/dictionaries/$target" ] || dictionary=("-dict=fuzz/dictionaries/$target")
    # By name, as the order in a folder differs from one checkout to the next.
    committed=$(printf '%s\n' "fuzz/corpus/$target"/* | LC_ALL=C sort | paste -sd,)
    begun=$(date +%s%N)
    FUZZ_STATS=$logs/$target.stats "$programs/$target" "$limit" "${dictionary[@]}" -seed="${SEED:-0}" \
        -max_len=$INPUT_BYTES_MAX -timeout=$INPUT_SECONDS_MAX -rss_limit_mb=$RSS_MIB_MAX \
        -artifact_prefix="$found/" -print_final_stats=1 -seed_inputs="$committed" "$learned" \
        >"$logs/$target.log" 2>&1 || status=$?
    spent=$(($(date +%s%N) - begun))
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target.log" | tail -n 1)
    # A program that failed wrote no statistics.
    counted=$(cat "$logs/$target.stats" 2>/dev/null || true)
    if [[ $counted =~ slowest_us=([0-9]+)\ peak_bytes=([0-9]+)\ peak_share=([0-9]+) ]]; then
        slowest_us=${BASH_REMATCH[1]} peak_bytes=${BASH_REMATCH[2]} peak_share=${BASH_REMATCH[3]}
    fi
    echo "$target $status ${inputs:-0} $((spent / 1000000)) $(ls "$learned" | wc -l) $slowest_us $peak_bytes $peak_share" \
        >"$logs/$target.row"
    if [ "$status" = 0 ]; then
        echo "pass $target: ${inputs:-0} inputs" >&2
    else
        artifact=$(sed -n 's/.*Test unit written to //p' "$logs/$target.log" | tail -n 1)
        {
            echo "FAIL $target: status $status, see $logs/$target.log; repeat it with: $programs/$target ${artifact:-}"
            grep -a -m 3 -E '^(memory:|slow:|the input was stretched|a panic got through|thread .* panicked|SUMMARY|ERROR|==[0-9]+== ERROR)' -A 2 \
                "$logs/$target.log" || true
            # Logs of CI lack the rest: where in this project it was, and the input itself.
            grep -a -E '^ +at \./(\.\./)?(src|fuzz)/' "$logs/$target.log" | head -n 12 || true
            [ ! -e "${artifact:-}" ] || { echo "the input, gzip and base64:"; gzip -9nc "$artifact" | base64 -w 0; echo; }
        } >&2
    fi
}
export -f run_target
export programs limit learned_in INPUT_BYTES_MAX INPUT_SECONDS_MAX RSS_MIB_MAX

printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'set -eu; run_target {}'

for target in "${targets[@]}"; do
    cat "fuzz/target/logs/$target.row"
done | awk -v markdown="$markdown" '
    BEGIN {
        plain = "%-18s %12s %10s %10s %8s %13s %15s %10s\n"
        row = markdown ? "| %s | %s | %s | %s | %s | %s | %s | %s |\n" : plain
        printf row, "target", "inputs", "inputs/s", "learned", "failures", "slowest (ms)", "most memory (KiB)", "of bound"
        if (markdown) print "|---|---:|---:|---:|---:|---:|---:|---:|"
    }
    {
        known = $6 != "?"
        slowest = known ? sprintf("%.1f", $6 / 1000) : "?"
        memory = known ? sprintf("%.0f", $7 / 1024) : "?"
        share = known ? sprintf("%.0f %%", $8 / 10) : "?"
        rate = $4 > 0 ? sprintf("%.0f", $3 * 1000 / $4) : "?"
        printf row, $1, $3, rate, $5, $2 != 0, slowest, memory, share
        if ($2 != 0) failed++; else passed++
        all += $3
    }
    END {
        if (markdown) print ""
        printf "%d inputs in all\n%d passed, %d failed\n", all, passed, failed
        exit (failed > 0)
    }'
