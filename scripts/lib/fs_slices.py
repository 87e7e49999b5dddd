"""Slices of the `fs` adapter on one directory tree: LMCache's own bench in a process that stays, and ours in a fresh process for
each slice. Standard library only."""

import dataclasses
import os
import pathlib

from lib import native
from lib.contestants import ReferenceProcess
from lib.native import GIB

NUM_KEYS, IN_FLIGHT = 32, 4
KEYS = NUM_KEYS * IN_FLIGHT


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison: an operation, an object size and a way to reach the disk."""

    operation: str
    size_kib: int
    direct: bool
    bar: float

    @property
    def name(self) -> str:
        kind = "" if self.operation == "Lookup" else "O_DIRECT " if self.direct else "buffered "
        return f"{kind}{self.operation.lower()}"

    @property
    def slice_bytes(self) -> int:
        return KEYS * self.size_kib * 1024

    @property
    def align(self) -> int:
        return 4096 if self.direct else 1

    def spec(self, directory: pathlib.Path) -> dict:
        return {"type": "fs", "base_path": str(directory), "use_odirect": self.direct}


@dataclasses.dataclass
class Slice:
    keys_per_s: float
    cpu_s: float | None  # during the operation
    process_cpu_s: float | None = None  # of the whole process, start to end
    io_path: str = ""


class Reference:
    """The process of LMCache that stays for all slices, with an adapter of its own for each."""

    def __init__(self) -> None:
        self.process = ReferenceProcess()

    def measure(self, row: Row, directory: pathlib.Path) -> Slice:
        shape = {"num_keys": NUM_KEYS, "in_flight": IN_FLIGHT, "data_size": row.size_kib * 1024, "align": row.align}
        self.process.ask(open={"spec": row.spec(directory), **shape})
        before = bytes_below(directory)
        answer = self.process.run(row.operation, 0, 1, KEYS)
        self.process.ask(open=None)
        stored = bytes_below(directory) - before
        if stored != (row.slice_bytes if row.operation == "Store" else 0):
            raise RuntimeError(f"a slice of {row.name} left {stored} bytes")
        return Slice(KEYS / answer["durations_s"][0], answer["cpu_s"])

    def close(self) -> None:
        self.process.close()


def bytes_below(directory: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.data"))


def ours(row: Row, directory: pathlib.Path) -> Slice:
    """One fresh process per slice: no warm-up round, cold threads and buffers."""
    flags = ["--num-keys", NUM_KEYS, "--in-flight", IN_FLIGHT, "--data-size-kb", row.size_kib]
    flags += ["--l1-align-bytes", row.align, "--warmup-rounds", 0, "--rounds", 1, "--only", row.operation.lower()]
    if row.operation == "Lookup":
        flags += ["--lookup-max-hit-rate", "1.0"]
    run = native.l2(row.spec(directory), *flags).expect(0)
    section, detail = run.metrics["op_0"], run.metrics["detail_0"]
    if section["total_success"] != KEYS:
        raise RuntimeError(f"ours did not complete a slice of {row.name}: {section}\n{run.stderr}")
    cpu_s = detail["cpu_s_per_gib"] * row.slice_bytes / GIB if "cpu_s_per_gib" in detail else None
    path = "; ".join(filter(None, [detail.get("io_path"), detail.get("device_label")]))
    return Slice(section["ops_per_sec_avg"], cpu_s, run.cpu_s, path)


class Tree:
    """Every directory of one run. Nothing is deleted before the end: freshly deleted inodes slow down later creates."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self._count = 0
        self._stored: dict[Row, pathlib.Path] = {}

    def fresh(self) -> pathlib.Path:
        self._count += 1
        directory = self.root / f"{self._count:04}"
        directory.mkdir()
        return directory

    def stored_like(self, row: Row) -> pathlib.Path:
        """One set of objects that both sides read; O_DIRECT readers find none of it in the page cache."""
        store = dataclasses.replace(row, operation="Store")
        if store not in self._stored:
            directory = self.fresh()
            ours(store, directory)
            os.sync()
            if row.direct:
                for path in directory.iterdir():
                    with path.open("rb") as file:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self._stored[store] = directory
        return self._stored[store]
