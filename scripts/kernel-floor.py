#!/usr/bin/env python3
"""What buffered stores and loads cost inside the kernel: open, one write or read, close, rename, and nothing else.

Usage: kernel-floor.py [--dir DIR] [--out FILE]. One thread, 1 MiB objects, a buffer that is reused, files that are new (store)
or in the page cache (load); CPU seconds per GiB from the process's own times. No tool that goes through the page cache can
be below it. On a virtual machine, run it right after scripts/side-by-side-l2.py, which makes the host provide memory.
"""
import argparse
import os
import pathlib
import platform
import shutil
import statistics
import tempfile

OBJECT_BYTES = 1 << 20
OBJECTS = 256
SLICES = 7


def cpu_s():
    times = os.times()
    return times.user + times.system


def slice_of(root, number, buffer):
    """CPU seconds per GiB of storing and of loading one directory of objects."""
    gib = OBJECTS * OBJECT_BYTES / 2**30
    directory = root / str(number)
    directory.mkdir()
    begin = cpu_s()
    for index in range(OBJECTS):
        tmp = f"{directory}/{index}.tmp"
        file = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(file, buffer)
        os.close(file)
        os.rename(tmp, f"{directory}/{index}.data")
    stored = cpu_s()
    for index in range(OBJECTS):
        file = os.open(f"{directory}/{index}.data", os.O_RDONLY)
        os.readv(file, [buffer])
        os.close(file)
    return (stored - begin) / gib, (cpu_s() - stored) / gib


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--out", type=pathlib.Path, help="also write the table to this file")
    args = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="lmcache-bench-floor-", dir=args.dir))
    buffer = bytearray(os.urandom(OBJECT_BYTES))
    try:
        stores, loads = zip(*(slice_of(root, number, buffer) for number in range(SLICES)))
    finally:
        shutil.rmtree(root)
    lines = ["# CPU that buffered I/O costs inside the kernel", "",
             f"Made by `scripts/kernel-floor.py`; {SLICES} slices of {OBJECTS} objects of 1 MiB. Linux {platform.release()}.", "",
             "| operation | CPU s/GiB median | min | max |", "|---|---|---|---|"]
    for name, values in (("store", stores), ("load", loads)):
        lines.append(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
