#!/usr/bin/env python3
"""How much of plain memory copies the dax adapter reaches, on a file in memory and on a file in the page cache of a disk.

Usage: dax.py [--dir DIR] [--out FILE]. Each share is a round over the two slices of plain copies beside it, in one process
(`lmcache-bench l2 --probe`): the same buffers, the same number of threads, places that are as cold. Three processes of nine rounds
for each row, in turn. Needs 4 GiB in /dev/shm and in DIR. The binary is LMCACHE_BENCH_BIN or target/release.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

BINARY = os.environ.get("LMCACHE_BENCH_BIN", "target/release/lmcache-bench")
BAR = 0.8
GIB = 4
SIZES_KIB = (256, 1024)
ROUNDS, PROCESSES = 9, 3


def run(path, size_kib, scratch):
    """The metrics of one process."""
    spec = json.dumps({"type": "dax", "device_path": str(path), "max_dax_size_gb": GIB, "slot_bytes": size_kib * 1024})
    report = scratch / "report.json"
    subprocess.run(
        [BINARY, "l2", "--l2-adapter", spec, "--in-flight", "4", "--data-size-kb", str(size_kib), "--rounds", str(ROUNDS), "--probe",
         "-q", "--format", "json", "--output", str(report)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return json.loads(report.read_text())["metrics"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"), help="a directory on a disk")
    parser.add_argument("--out", type=pathlib.Path, help="also write the table to this file")
    args = parser.parse_args()
    rows, met = [], True
    for where, directory in (("/dev/shm", "/dev/shm"), ("disk, page cache", args.dir)):
        with tempfile.TemporaryDirectory(prefix="lmcache-bench-dax-", dir=directory) as scratch:
            scratch = pathlib.Path(scratch)
            path = scratch / "device"
            with path.open("wb") as file:
                for _ in range(GIB << 6):
                    file.write(bytes(16 << 20))
            # Written and clean before the clock, so that nothing is written back meanwhile.
            os.sync()
            for size_kib in SIZES_KIB:
                runs = [run(path, size_kib, scratch) for _ in range(PROCESSES)]
                for index in (0, 2):
                    details = [metrics[f"detail_{index}"] for metrics in runs]
                    name = runs[0][f"op_{index}"]["operation"].lower()
                    shares = [detail["probe_ratio_p50"] for detail in details]
                    share = statistics.median(shares)
                    met = met and share >= BAR
                    speed = statistics.median(metrics[f"op_{index}"]["throughput_avg_mbps"] for metrics in runs)
                    copies = statistics.median(detail["probe_mbps_p50"] for detail in details)
                    each = ", ".join(f"{value:.2f}" for value in sorted(shares))
                    verdict = ("yes" if share >= BAR else "no")
                    rows.append(f"| {name} | {where} | {size_kib} KiB | {details[0]['queue_depth_requested']} | {speed:.0f} "
                                f"| {copies:.0f} | {share:.3f} ({each}) | {BAR:.1f} | {verdict} |")
    text = "\n".join([
        "# dax beside plain memory copies", "",
        f"Made by `scripts/dax.py`; {PROCESSES} processes of {ROUNDS} rounds for each row, 4 submits of 32 keys. {os.cpu_count()} cores,",
        f"Linux {platform.release()}.", "",
        "| operation | file | object | threads | ours MiB/s | plain copies MiB/s | share p50 (each process) | bar | met |",
        "|---|---|---|---|---|---|---|---|---|", *rows, "",
    ])
    print(text)
    if args.out:
        args.out.write_text(text)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
