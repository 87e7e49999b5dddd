#!/usr/bin/env python3
"""How much of what fio's io_uring job reaches on a file or device the raw_block adapter reaches there, store and load.

Usage: raw-block.py [--device PATH | --dir DIR] [--out FILE]. Without --device a file of 2 GiB is made in DIR, written once, and
removed at the end; a device loses what is on it. Runs alternate, nine of ours for each object size: ours (io_uring engine,
O_DIRECT, depth 8) and fio (io_uring, direct, fixed buffers, registered file, depth 8, the same block size, bytes and place).
Then the same with fio given as much memory as a round has: with depth 8 fio moves the same 2 MiB of buffers over and over at
256 KiB, which stay in the processor's caches, and a cache of KV objects never does. fio's buffers are as many as its depth, so
more memory means more depth there; `ring_speed` (an example of this package) moves the same bytes through one bare ring at depth
8 with any number of buffers, which separates the two. Needs fio (scripts/peers.sh fio) and cargo. The binary is LMCACHE_BENCH_BIN or target/release.
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
DEPTH = 8
PAIRS = 9
FOOTPRINT_RUNS = 5
FOOTPRINTS_MIB = (32, 256)
# What fio gets to compare with equal memory; its depth is this over the block size.
FIO_MEMORY_MIB = 64
BAR = 0.95
META_BYTES = 4 << 20
DEVICE_BYTES = 2 << 30
# Object KiB -> keys of a submit; eight submits are a round of 256 MiB, and a run is four of them, the first not counted.
SHAPES = {256: 128, 1024: 32}
IN_FLIGHT = 8
ROUNDS = 3


def ours(device, size_kib, probe, keys=None, in_flight=IN_FLIGHT, rounds=ROUNDS):
    """MiB/s of store and load, each round's bytes over the sum of the round times, and the share of the run's own probe."""
    slot = size_kib * 1024 + 4096
    spec = json.dumps({"type": "raw_block", "device_path": str(device), "slot_bytes": slot, "meta_total_bytes": META_BYTES,
                       "io_engine": "io_uring", "load_checkpoint_on_init": False})
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch, "report.json")
        subprocess.run(
            [BINARY, "l2", "--l2-adapter", spec, "--l1-align-bytes", "4096", "--num-keys", str(keys or SHAPES[size_kib]),
             "--in-flight", str(in_flight), "--data-size-kb", str(size_kib), "--rounds", str(rounds), "--io-depth", str(DEPTH), "-q",
             "--format", "json", "--output", str(report), *(["--probe"] if probe else [])],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        metrics = json.loads(report.read_text())["metrics"]
    speed = {}
    for index, name in ((0, "write"), (2, "read")):
        operation = metrics[f"op_{index}"]
        assert operation["operation"] == {"write": "Store", "read": "Load"}[name], operation
        assert operation["total_success"] == operation["total_keys"], operation
        speed[name] = metrics["config"]["data_per_round_mb"] / operation["duration_avg_ms"] * 1000
    return speed, metrics


def fio(device, size_kib, direction, depth=DEPTH):
    """MiB/s on the bytes that our slots lie in. Buffers in transparent huge pages, as ours are: where a request is copied page
    by page (virtio, IOMMUs), small pages are up to three times slower."""
    total = SHAPES[size_kib] * IN_FLIGHT * ROUNDS * size_kib
    job = ["fio", "--name=raw", f"--filename={device}", f"--offset={META_BYTES}", f"--size={total}k", f"--bs={size_kib}k",
           "--ioengine=io_uring", "--direct=1", "--fixedbufs=1", "--registerfiles=1", f"--iodepth={depth}", "--mem_align=2m",
           "--allow_file_create=0", "--overwrite=1", f"--rw={direction}", "--output-format=json"]
    huge = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    done = subprocess.run(job, check=True, capture_output=True, env=huge)
    return json.loads(done.stdout)["jobs"][0][direction]["bw_bytes"] / 2**20


def fill(device):
    """Writes every byte once: space that was never written is a different device."""
    fio_fill = ["fio", "--name=fill", f"--filename={device}", f"--size={DEVICE_BYTES}", "--bs=1m", "--ioengine=io_uring",
                "--direct=1", "--iodepth=8", "--rw=write"]
    subprocess.run(fio_fill, check=True, capture_output=True)


def compare(device, size_kib, lines):
    """Each of our runs over the harmonic mean of the fio runs before and after it: the device's speed drifts."""
    depths = (DEPTH, (FIO_MEMORY_MIB << 10) // size_kib)
    beside = {(direction, depth): [] for direction in ("write", "read") for depth in depths}
    mine = {"write": [], "read": []}

    def run_fio():
        for (direction, depth), speeds in beside.items():
            speeds.append(fio(device, size_kib, direction, depth))

    run_fio()
    for _ in range(PAIRS):
        speed, _ = ours(device, size_kib, probe=False)
        for direction, speeds in mine.items():
            speeds.append(speed[direction])
        run_fio()
    met = True
    for (direction, depth), theirs in beside.items():
        speeds = mine[direction]
        ratios = sorted(speed / statistics.harmonic_mean(both) for speed, both in zip(speeds, zip(theirs, theirs[1:])))
        median = statistics.median(ratios)
        name = {"write": "store", "read": "load"}[direction]
        memory = f"{depth * size_kib >> 10} MiB, depth {depth}"
        verdict = "yes" if median >= BAR else "no"
        met = met and (median >= BAR or depth != DEPTH)
        lines.append(f"| {name} | {size_kib} KiB | {memory} | {statistics.median(speeds):.0f} | {statistics.median(theirs):.0f} "
                     f"| {ratios[PAIRS // 4]:.3f} / {median:.3f} / {ratios[-1 - PAIRS // 4]:.3f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) "
                     f"| {BAR:.2f} | {verdict} |")
    return met


def shares(device, size_kib, lines):
    """Rounds with a slice of the raw device before and after each, in one process."""
    _, metrics = ours(device, size_kib, probe=True)
    for index in (0, 2):
        operation, detail = metrics[f"op_{index}"], metrics[f"detail_{index}"]
        quartiles = " / ".join(f"{detail[f'probe_ratio_p{p}']:.3f}" for p in (25, 50, 75))
        lines.append(f"| {operation['operation'].lower()} | {size_kib} KiB | {detail['io_path']} "
                     f"| {detail['queue_depth_achieved']:.2f} | {detail['cpu_s_per_gib']:.3f} | {quartiles} |")


def footprint(device, lines):
    """One bare ring of depth 8 over the same bytes, by the memory that its buffers are."""
    for size_kib in SHAPES:
        total_mib = SHAPES[size_kib] * IN_FLIGHT * ROUNDS * size_kib >> 10
        command = ["cargo", "run", "--release", "--locked", "--quiet", "--example", "ring_speed", "--", str(device), str(META_BYTES),
                   str(size_kib * 1024), str(DEPTH), str(total_mib), str(FOOTPRINT_RUNS), *map(str, (DEPTH * size_kib >> 10, *FOOTPRINTS_MIB))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        for line in done.stdout.splitlines():
            _, direction, memory_mib, median, least, most = line.split()
            lines.append(f"| {direction.lower()} | {size_kib} KiB | {memory_mib} MiB | {median} | {least} to {most} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=pathlib.Path, help="a block device or file of at least 2 GiB; what is on it is lost")
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"), help="where the file is made")
    parser.add_argument("--out", type=pathlib.Path, help="also write the tables to this file")
    args = parser.parse_args()
    device, where = args.device, "a device"
    if device is None:
        handle, path = tempfile.mkstemp(prefix="lmcache-bench-raw-block-", dir=args.dir)
        os.ftruncate(handle, DEVICE_BYTES)
        os.close(handle)
        device, where = pathlib.Path(path), "a file that was written before"
    lines = ["| operation | object | fio's buffers | ours MiB/s | fio MiB/s | ours over fio, p25 / p50 / p75 (min to max) | bar | met |",
             "|---|---|---|---|---|---|---|---|"]
    share_lines = ["| operation | object | I/O path | achieved depth | CPU s/GiB | share p25 / p50 / p75 |",
                   "|---|---|---|---|---|---|"]
    memory_lines = ["| direction | object | buffers | MiB/s, median | min to max |", "|---|---|---|---|---|"]
    try:
        fill(device)
        met = all([compare(device, size_kib, lines) for size_kib in SHAPES])
        for size_kib in SHAPES:
            shares(device, size_kib, share_lines)
        footprint(device, memory_lines)
    finally:
        if args.device is None:
            device.unlink()
    text = "\n".join([
        "# raw_block beside fio", "",
        f"Made by `scripts/raw-block.py` on {where}. {os.cpu_count()} cores, Linux {platform.release()}. io_uring, O_DIRECT,",
        f"depth {DEPTH}; a run is {ROUNDS} rounds of {IN_FLIGHT} submits, 256 MiB each.", "",
        f"## Against fio ({PAIRS} runs, each over the harmonic mean of the fio runs before and after it)", "", *lines, "",
        "## Share of the raw device (rounds over the two probe slices beside them)", "", *share_lines, "",
        f"## One bare ring of depth {DEPTH}, by the memory of its buffers ({FOOTPRINT_RUNS} passes of each, in turn)", "", *memory_lines, "",
        "Nothing else differs between these rows. Reads of 256 KiB into 2 MiB that are used again and again are faster, because the",
        "copy into the virtual machine's memory then hits the caches; fio loses the same once it has more memory (first table).",
        f"A round of ours has {IN_FLIGHT * SHAPES[256] * 256 >> 10} MiB, each key its own buffer, as LMCache has.", "",
    ])
    print(text)
    if args.out:
        args.out.write_text(text)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
