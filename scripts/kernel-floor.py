#!/usr/bin/env python3
"""What buffered stores and loads cost inside the kernel, beside LMCache's and our own CPU time for the same bytes.

Usage: kernel-floor.py [--dir DIR] [--out FILE]. The floor is a loop of open, one write or read, close, rename (stores), and
nothing else, by one process or two, with buffers as large as a round's, in huge pages. "Reserved" calls fallocate before the
write. Slices alternate: LMCache, ours, each floor, again; every slice gets a directory of its own and memory that the machine
already holds. No tool that goes through the page cache can be below the floor. Needs what scripts/side-by-side-l2.py needs.
"""
import argparse
import importlib.util
import mmap
import os
import pathlib
import platform
import shutil
import statistics
import sys
import tempfile
import time

SPEC = importlib.util.spec_from_file_location("side", pathlib.Path(__file__).with_name("side-by-side-l2.py"))
side = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = side
SPEC.loader.exec_module(side)

SLICES = 7
SIZES_KIB = (256, 1024)
# Name, processes, whether space is reserved first.
STORES = [("plain, one process", 1, False), ("plain, two processes", 2, False),
          ("reserved, one process", 1, True), ("reserved, two processes", 2, True)]
LOADS = [("one process", 1, False), ("two processes", 2, False)]


def store(directory, index, piece, reserve):
    tmp = f"{directory}/{index}.tmp"
    file = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    if reserve:
        os.posix_fallocate(file, 0, len(piece))
    assert os.write(file, piece) == len(piece)
    os.close(file)
    os.rename(tmp, f"{directory}/{index}.data")


def load(directory, index, piece, _):
    file = os.open(f"{directory}/{index}.data", os.O_RDONLY)
    assert os.readv(file, [piece]) == len(piece)
    os.close(file)


def floor(action, directory, size_kib, processes, reserve):
    """CPU seconds per GiB of one round, cut evenly among so many processes."""
    share = side.KEYS // processes
    readers = []
    ready, go = os.pipe(), os.pipe()
    for number in range(processes):
        result = os.pipe()
        readers.append(result[0])
        if os.fork() == 0:
            memory = mmap.mmap(-1, share * size_kib * 1024, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(mmap.MADV_HUGEPAGE)
            for start in range(0, len(memory), 1 << 20):
                memory[start : start + (1 << 20)] = os.urandom(1 << 10) * 1024
            view = memoryview(memory)
            os.write(ready[1], b"r")
            os.read(go[0], 1)
            begin = time.process_time()
            for index in range(share):
                action(directory, number * share + index, view[index * size_kib * 1024 : (index + 1) * size_kib * 1024], reserve)
            os.write(result[1], str(time.process_time() - begin).encode())
            os._exit(0)
    waiting = processes
    while waiting:
        waiting -= len(os.read(ready[0], waiting))
    os.write(go[1], b"g" * processes)
    total = sum(float(os.read(reader, 64)) for reader in readers)
    for _ in range(processes):
        assert os.wait()[1] == 0
    for descriptor in (*ready, *go, *readers):
        os.close(descriptor)
    return total / (side.KEYS * size_kib / 2**20)


def measure(size_kib, reference, tree):
    """CPU s/GiB by (operation, name)."""
    stores, loads = (side.Row(name, size_kib, False, 0) for name in ("Store", "Load"))
    gib = stores.slice_bytes / side.GIB
    found = {}

    def add(operation, name, value):
        found.setdefault((operation, name), []).append(value)

    def quiet():
        os.sync()
        side.touch_memory()

    for turn in range(SLICES + 1):
        values = []
        for row in (stores, loads):
            directory = (lambda: tree.fresh()) if row is stores else (lambda: tree.stored_like(row))
            for name, measured in (("LMCache 0.5.6", reference.measure), ("lmcache-bench", side.ours)):
                where = directory()
                quiet()
                values.append((row.operation, name, measured(row, where).cpu_s / gib))
        for name, processes, reserve in STORES:
            where = tree.fresh()
            quiet()
            values.append(("Store", name, floor(store, where, size_kib, processes, reserve)))
        for name, processes, reserve in LOADS:
            # What the last floor stored.
            values.append(("Load", name, floor(load, where, size_kib, processes, reserve)))
        if turn > 0:
            for value in values:
                add(*value)
    return found


def table(size_kib, found):
    lines = []
    for operation in ("Store", "Load"):
        bar = statistics.median(found[operation, "LMCache 0.5.6"]) * side.CPU_BAR
        for (of, name), values in found.items():
            if of == operation:
                median = statistics.median(values)
                verdict = "" if name.startswith("LMCache") else "yes" if median <= bar else "no"
                shown = name if name.startswith(("LMCache", "lmcache")) else f"floor: {name}"
                lines.append(f"| {operation.lower()} | {size_kib} KiB | {shown} | {median:.3f} | {min(values):.3f} | {max(values):.3f} "
                             f"| {bar:.3f} | {verdict} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"))
    parser.add_argument("--out", type=pathlib.Path, help="also write the table to this file")
    args = parser.parse_args()
    environment = side.lmcache_environment()
    root = pathlib.Path(tempfile.mkdtemp(prefix="lmcache-bench-floor-", dir=args.dir))
    try:
        side.creates.wait_until_quick(root)
        reference, tree = side.Reference(environment), side.Tree(root)
        rows = [line for size_kib in SIZES_KIB for line in table(size_kib, measure(size_kib, reference, tree))]
        reference.close()
    finally:
        shutil.rmtree(root)
    text = "\n".join([
        "# CPU that buffered I/O costs inside the kernel", "",
        f"Made by `scripts/kernel-floor.py`; {SLICES} turns of {side.KEYS} objects. {os.cpu_count()} cores, Linux {platform.release()}.",
        "The bar is a third of what LMCache used in the same turns.", "",
        "| operation | object | who | CPU s/GiB median | min | max | bar | at most the bar |", "|---|---|---|---|---|---|---|---|", *rows, "",
        "A floor is open, one write or read, close, rename and nothing else. By `perf record` on this machine, a reserved store of",
        "1 MiB spends 0.39 of its time copying, 0.21 making a buffer head for every 4 KiB, 0.20 in open, rename and close, 0.09 finding",
        "blocks and 0.04 reserving them. Not reserved, ext4's delayed allocation books every 4 KiB on its own and takes as long as the",
        "copy. Tried without gain: O_TMPFILE and linkat, ftruncate first, writes of 32 and 128 KiB, four threads. Through a mapping it",
        "costs five times as much.", "",
    ])
    print(text, end="")
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
