#!/usr/bin/env python3
"""What lmcache-bench itself costs: harness time per key, start-up, memory beyond its buffers, verification speed.

Usage: self-cost.py [--out FILE]. Medians of interleaved slices; the binary is LMCACHE_BENCH_BIN or target/release.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BINARY = os.environ.get("LMCACHE_BENCH_BIN", "target/release/lmcache-bench")
NULL = '{"type":"mock","max_size_gb":1,"mock_bandwidth_gb":"inf"}'
SLICES = 9


def run(directory, *flags):
    """Runs l2 quietly; returns its metrics and the seconds it took."""
    report = os.path.join(directory, "report.json")
    begin = time.perf_counter()
    subprocess.run([BINARY, "l2", *flags, "-q", "--format", "json", "--output", report], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    with open(report, encoding="utf-8") as file:
        return json.load(file)["metrics"], seconds


def peak_memory_mib(directory, *flags):
    """Peak resident memory of one run, measured in a child of its own so that earlier runs do not count."""
    code = (
        "import resource,subprocess,sys;subprocess.run(sys.argv[1:],check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, BINARY, "l2", *flags, "-q"], check=True, capture_output=True, cwd=directory
    )
    return int(out.stdout) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="also write the table to this file")
    args = parser.parse_args()
    global BINARY
    BINARY = os.path.abspath(BINARY)
    directory = tempfile.mkdtemp(prefix="lmcache-bench-self-cost-")
    try:
        table = measure(directory)
    finally:
        shutil.rmtree(directory)
    print(table, end="")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(table)


def measure(directory):
    per_key = {"Store": [], "Lookup": [], "Load": []}
    first, whole, help_s, speed = [], [], [], []
    for slice_number in range(SLICES):
        # 64 submits of 32 keys, so that a round is long enough for the report's 0.01 ms.
        metrics, _ = run(directory, "--l2-adapter", NULL, "--num-keys", "32", "--in-flight", "64",
                         "--data-size-kb", "4", "--rounds", "20")
        for index, operation in enumerate(per_key):
            per_key[operation].append(metrics[f"op_{index}"]["duration_p50_ms"] * 1000 / (32 * 64))
        spec = json.dumps({"type": "fs", "base_path": os.path.join(directory, f"s{slice_number}")})
        metrics, _ = run(directory, "--l2-adapter", spec, "--no-skip-verify", "--rounds", "3")
        first.append(metrics["run"]["start_to_first_submit_ms"])
        speed.append(metrics["verify"]["gib_per_core_s"])
        _, seconds = run(directory, "--l2-adapter", NULL, "--num-keys", "1")
        whole.append(seconds * 1000)
        begin = time.perf_counter()
        subprocess.run([BINARY, "l2", "--help"], check=True, stdout=subprocess.DEVNULL)
        help_s.append((time.perf_counter() - begin) * 1000)
    spec = json.dumps({"type": "fs", "base_path": os.path.join(directory, "m"), "use_odirect": True})
    flags = ["--l2-adapter", spec, "--in-flight", "4", "--data-size-kb", "1024", "--no-skip-verify"]
    beyond = peak_memory_mib(directory, *flags) - 2 * 4 * 32
    rows = [(f"null device, {name}, us per key", values, "< 1", lambda x: x < 1) for name, values in per_key.items()]
    rows += [
        ("process start to first submit, default flags, ms", first, "<= 20", lambda x: x <= 20),
        ("whole run with one key on the null device, ms", whole, "", None),
        ("`l2 --help`, ms", help_s, "a few", lambda x: x < 10),
        ("verification, GiB/s on one core", speed, ">= 4", lambda x: x >= 4),
        ("peak memory beyond 256 MiB of L1 buffers, MiB", [beyond], "<= 16", lambda x: x <= 16),
    ]
    lines = ["# What lmcache-bench itself costs", "",
             f"Made by `scripts/self-cost.py`; medians of {SLICES} slices (memory: one run). {os.cpu_count()} cores, "
             f"Linux {platform.release()}.", "", "| figure | median | min | max | bar | met |", "|---|---|---|---|---|---|"]
    for name, values, bar, met in rows:
        median = statistics.median(values)
        verdict = "" if met is None else "yes" if met(median) else "no"
        lines.append(f"| {name} | {median:.3g} | {min(values):.3g} | {max(values):.3g} | {bar} | {verdict} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
