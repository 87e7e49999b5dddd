#!/usr/bin/env python3
"""How much of the raw device the fs adapter reaches with O_DIRECT, and whether fio agrees about the raw device.

Usage: raw-device.py [--dir DIR] [--out FILE]. Four tables. First, `lmcache-bench l2 --probe`: nine rounds with a slice of the
raw device before and after each, in one process. Second, the same on a file system of its own whose disk was written in full
before (scripts/written_disk.py; needs root), as drives in use are. Third, whether it is the file system or what lies below it
that makes space slow which was never written. Fourth, seven short runs of `--probe` alternating with fio on a file of the same
size that was written before. Needs fio (scripts/peers.sh fio), `fallocate` of util-linux and about 14 GiB of disk. The binary
is LMCACHE_BENCH_BIN or target/release. Nothing is deleted before the last measurement.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "interop"))
sys.dont_write_bytecode = True
import creates
import written_disk

BINARY = os.environ.get("LMCACHE_BENCH_BIN", "target/release/lmcache-bench")
SIZES_KIB = (1024, 256)
ROUNDS = 9
WRITTEN_DISK_GIB = 6
PAIRS = 7
# (operation, object KiB) -> least share of the pre-written raw device.
BARS = {("Store", 1024): 0.90, ("Load", 1024): 0.95, ("Store", 256): 0.50, ("Load", 256): 0.90}


def probe(root, name, size_kib, rounds, *flags):
    """One `l2 --probe` run in a fresh directory; the metrics of its report."""
    spec = json.dumps({"type": "fs", "base_path": str(root / name), "use_odirect": True})
    report = root / f"{name}.json"
    subprocess.run(
        [BINARY, "l2", "--l2-adapter", spec, "--in-flight", "4", "--data-size-kb", str(size_kib), "--rounds", str(rounds),
         "--probe", *flags, "-q", "--format", "json", "--output", str(report)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return json.loads(report.read_text())["metrics"]


def fio(root, size_kib, direction):
    """MiB/s of fio on a file of one round's size, eight times over, as near to the probe as its options come.

    The probe's buffers lie in transparent huge pages. Where a request is copied page by page (virtio, IOMMUs) buffers of 4 KiB
    pages are up to three times slower, so fio gets the same: allocated by a malloc that asks for huge pages, and aligned to them.
    """
    path = root / f"fio-{size_kib}"
    job = ["fio", "--name=raw", f"--filename={path}", f"--size={128 * size_kib}k", f"--bs={size_kib}k", "--ioengine=io_uring",
           "--direct=1", "--fixedbufs=1", "--registerfiles=1", "--iodepth=8", "--mem_align=2m", "--output-format=json"]
    huge = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    if not path.exists():
        subprocess.run([*job, "--rw=write"], check=True, capture_output=True)
    repeated = [*job, f"--rw={direction}", "--overwrite=1", "--loops=8"]
    out = subprocess.run(repeated, check=True, capture_output=True, env=huge)
    return json.loads(out.stdout)["jobs"][0][direction]["bw_bytes"] / 2**20


# What is done to the space of one file before fio writes all of it again.
SPACE_MIB = 256
SPACE = {
    "written before": [],
    "written before, then marked unwritten (same blocks)": [["-z", "-l", f"{SPACE_MIB}M"]],
    "given back and reserved again (other blocks)": [["-p", "-l", f"{SPACE_MIB}M"], ["-l", f"{SPACE_MIB}M"]],
}
SPACE_TURNS = 5


def space(root):
    """fio's MiB/s at 1 MiB and depth 8 by the kind of space. Unwritten extents are ext4's way to remember that blocks hold nothing
    yet; those of the second row lie where the device has bytes already, those of the third where it has none."""
    path = root / "space"
    job = ["fio", "--name=raw", f"--filename={path}", f"--size={SPACE_MIB}m", "--bs=1m", "--ioengine=io_uring", "--direct=1",
           "--fixedbufs=1", "--registerfiles=1", "--iodepth=8", "--mem_align=2m", "--overwrite=0", "--rw=write",
           "--output-format=json"]
    huge = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

    def write():
        out = subprocess.run(job, check=True, capture_output=True, env=huge)
        return json.loads(out.stdout)["jobs"][0]["write"]["bw_bytes"] / 2**20

    write()
    speeds = {kind: [] for kind in SPACE}
    for _ in range(SPACE_TURNS):
        for kind, steps in SPACE.items():
            for step in steps:
                subprocess.run(["fallocate", *step, str(path)], check=True)
                os.sync()
            speeds[kind].append(write())
    lines = ["| space | fio MiB/s, median | min to max |", "|---|---|---|"]
    for kind, values in speeds.items():
        lines.append(f"| {kind} | {statistics.median(values):.0f} | {min(values):.0f} to {max(values):.0f} |")
    return lines


def shares(root):
    lines = ["| operation | object | files | adapter MiB/s | raw written MiB/s | share p25 / p50 / p75 | raw spread | bar | met "
             "| raw fresh MiB/s | share of fresh |", "|---|---|---|---|---|---|---|---|---|---|---|"]
    runs = [(size_kib, files) for size_kib in SIZES_KIB for files in ("new", "recycled")]
    for size_kib, files in runs:
        flags = ["--recycle"] if files == "recycled" else []
        metrics = probe(root, f"share-{size_kib}-{files}", size_kib, ROUNDS, *flags)
        for index in (0, 2):
            operation, detail = metrics[f"op_{index}"], metrics[f"detail_{index}"]
            name = operation["operation"]
            bar, p50 = BARS[(name, size_kib)], detail["probe_ratio_p50"]
            quartiles = " / ".join(f"{detail[f'probe_ratio_p{p}']:.3f}" for p in (25, 50, 75))
            verdict = "no verdict" if detail["probe_spread"] > 2 else "yes" if p50 >= bar else "no"
            fresh = [f"{detail['fresh_mbps_p50']:.0f}", f"{detail['fresh_ratio_p50']:.3f}"] if index == 0 else ["", ""]
            lines.append(
                f"| {name} | {size_kib} KiB | {files} | {operation['throughput_avg_mbps']:.0f} | {detail['probe_mbps_p50']:.0f} "
                f"| {quartiles} | {detail['probe_spread']:.2f} | {bar:.2f} | {verdict} | {fresh[0]} | {fresh[1]} |"
            )
    return lines


def shares_of_written_disk(root):
    if reason := written_disk.missing():
        return [f"Not measured: {reason}."]
    with written_disk.mounted(root, WRITTEN_DISK_GIB) as disk:
        return shares(disk)


def cross_check(root):
    lines = ["| direction | object | our probe MiB/s | fio MiB/s | ours over fio, p50 (min to max) |", "|---|---|---|---|---|"]
    for size_kib in SIZES_KIB:
        pairs = {"write": [], "read": []}
        for number in range(PAIRS):
            metrics = probe(root, f"check-{size_kib}-{number}", size_kib, 1)
            for index, direction in ((0, "write"), (2, "read")):
                pairs[direction].append((metrics[f"detail_{index}"]["probe_mbps_p50"], fio(root, size_kib, direction)))
        for direction, both in pairs.items():
            ratios = sorted(ours / theirs for ours, theirs in both)
            ours, theirs = (statistics.median(side) for side in zip(*both))
            lines.append(f"| {direction} | {size_kib} KiB | {ours:.0f} | {theirs:.0f} | "
                         f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"), help="a directory on the disk to measure")
    parser.add_argument("--out", type=pathlib.Path, help="also write the tables to this file")
    args = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="lmcache-bench-raw-", dir=args.dir))
    try:
        create_us = creates.wait_until_quick(root)
        share_lines, space_lines, check_lines = shares(root), space(root), cross_check(root)
        used_lines = shares_of_written_disk(root)
    finally:
        shutil.rmtree(root)
    text = "\n".join([
        "# The fs adapter against the raw device", "",
        f"Made by `scripts/raw-device.py`; 4 submits of 32 keys, O_DIRECT. {os.cpu_count()} cores, Linux {platform.release()}.",
        "", f"## Share of the raw device ({ROUNDS} rounds, each over the two probe slices beside it)", "", *share_lines, "",
        "Raw written: io_uring, as many at a time as the phase, registered buffers, on space written before (store) or objects of the run (load). Raw",
        "fresh: the same on space that is reserved but was never written, which is what new objects get. Files: new ones, or",
        "ones that were written before the clock and are taken over (`--recycle`). Creating an empty",
        f"file took {create_us:.0f} us (median) at the start; above {creates.SLOW_US:.0f} us recent deletions nearby slow the stores.",
        "",
        f"## The same on a disk that was written in full before ({ROUNDS} rounds)", "", *used_lines, "",
        "An ext4 of its own without discard, on a loop device whose file was written to the last byte (O_DIRECT on both levels).",
        "Here new files lie where the device has bytes already, as on a drive in use; fresh is what ext4 itself costs for space",
        "that it has yet to mark as written.", "",
        f"## What makes fresh space slow ({SPACE_TURNS} turns of each)", "", *space_lines, "",
        "One file, the same sizes and flags; only its space differs. Space that ext4 calls unwritten is as fast as written space",
        "where the device below holds bytes already. So it is the device that takes long to give space, not the file system, and",
        "what a new file can reach here is raw fresh, not raw written.", "",
        f"## The probe against fio ({PAIRS} alternating pairs)", "", *check_lines, "",
    ])
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
