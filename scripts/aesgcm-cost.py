#!/usr/bin/env python3
"""What encrypting and decrypting one object costs, in this program (`--apply-serde`) and in LMCache's own aesgcm serde.

Usage: aesgcm-cost.py [--dir DIR] [--out FILE], with a Python that has lmcache (scripts/peers.sh lmcache prints where). Runs of ours
and of LMCache's alternate, seven of each; a run is 320 objects, sealed and opened on one thread, and gives its median. Ours goes
through the fs adapter in DIR (default /dev/shm), whose time is not counted; LMCache's is called on the same bytes in memory. The
binary is LMCACHE_BENCH_BIN or target/release.
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

sys.path.insert(0, str(pathlib.Path(__file__).parent / "interop"))
import bridge_serde

BINARY = os.environ.get("LMCACHE_BENCH_BIN", "target/release/lmcache-bench")
PAIRS = 7
KEYS, ROUNDS = 32, 9  # and one round of warmup, which the section counts too
STEPS = ("encrypt", "decrypt")


def ours(scratch, key, bits, size_kib):
    """Median microseconds of an object, by step."""
    with tempfile.TemporaryDirectory(dir=scratch) as store:
        spec = {"type": "fs", "base_path": store, "serde": {"type": "aesgcm", "master_key_path": str(key), "aes_bits": bits}}
        report = scratch / "report.json"
        subprocess.run([BINARY, "l2", "--apply-serde", "--l2-adapter", json.dumps(spec), "--num-keys", str(KEYS), "--in-flight", "1",
                        "--rounds", str(ROUNDS), "--data-size-kb", str(size_kib), "-q", "--format", "json", "--output", str(report)],
                       check=True, stdout=subprocess.DEVNULL)
    serde = json.loads(report.read_text())["metrics"]["serde"]
    assert serde["encrypt_objects"] == serde["decrypt_objects"] == KEYS * (ROUNDS + 1), serde
    return {step: serde[f"{step}_us_p50"] for step in STEPS}


def lmcaches(key, bits, size_kib):
    serde = bridge_serde.Serde(key.read_bytes(), bits, size_kib << 10)
    plain = os.urandom(size_kib << 10)
    frames = [serde.seal(plain) for _ in range(KEYS * (ROUNDS + 1))]
    sealed, serde.seconds = serde.seconds, []
    assert all(serde.open(frame) == plain for frame in frames)
    return {step: statistics.median(times) * 1e6 for step, times in zip(STEPS, (sealed, serde.seconds))}


def compare(scratch, key, bits, size_kib):
    runs = [(ours(scratch, key, bits, size_kib), lmcaches(key, bits, size_kib)) for _ in range(PAIRS)]
    for step in STEPS:
        mine, theirs = ([run[side][step] for run in runs] for side in (0, 1))
        ratios = sorted(their / my for my, their in zip(mine, theirs))
        middle = statistics.median(mine)
        gib_per_s = size_kib * 1024 / 2**30 / (middle / 1e6)
        yield (f"| {step} | {size_kib} KiB | {bits} | {middle:.0f} | {statistics.median(theirs):.0f} | {gib_per_s:.2f} "
               f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default="/dev/shm", help="where objects lie for a moment")
    parser.add_argument("--out", type=pathlib.Path, help="also write the table to this file")
    args = parser.parse_args()
    lines = ["| step | object | AES bits | ours us | LMCache us | ours GiB/s per core | LMCache's time over ours (min to max) |",
             "|---|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory(dir=args.dir) as scratch:
        scratch = pathlib.Path(scratch)
        key = scratch / "master.key"
        key.write_bytes(os.urandom(32))
        for size_kib in (256, 1024):
            for bits in (128, 256):
                lines += compare(scratch, key, bits, size_kib)
    text = "\n".join(["# The cost of aesgcm", "",
                      f"Made by `scripts/aesgcm-cost.py`: medians over {PAIRS} alternating runs of {KEYS * (ROUNDS + 1)} objects on one thread.",
                      f"{os.cpu_count()} cores, Linux {platform.release()}.", "", *lines, ""])
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
