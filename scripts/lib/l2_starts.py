"""Time to the first operation of `l2`: LMCache's and ours, by their own word and by strace. Standard library only."""

import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import time

from lib import lmcache, native, report
from lib.fs_slices import IN_FLIGHT, NUM_KEYS, Tree
from lib.machine import touch_memory
from lib.peers import lmcache_environment
from lib.slices import quartiles

FIRST_OPERATION_BAR_MS = 20.0
FIRST_KEY = ["--num-keys", "1", "--warmup-rounds", "0", "--rounds", "1", "--only", "store"]


def reference_start_ms(directory: pathlib.Path) -> float:
    """From starting `lmcache bench l2` to the line that says that its first round is over."""
    spec = json.dumps({"type": "fs", "base_path": str(directory)})
    command = [str(lmcache_environment() / "bin/lmcache"), "bench", "l2", "--l2-adapter", spec, *FIRST_KEY]
    env = {**os.environ, **lmcache.QUIET, "PYTHONUNBUFFERED": "1"}
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env) as process:
        first = None
        for line in process.stdout:
            if first is None and "[Store] Round 1" in line:
                first = time.perf_counter()
    if first is None:
        raise SystemExit("`lmcache bench l2` ended without a store round")
    return (first - started) * 1000


def our_start_ms(spec: dict) -> float:
    """The whole process, report included: an upper bound of the time to its first operation."""
    return native.l2(spec, *FIRST_KEY).expect(0).wall_s * 1000


# Object KiB and whether O_DIRECT: a round of 128 objects for stores and another for loads, as in the tables above.
FULL_STARTS = [(256, False), (256, True), (1024, False), (1024, True)]


def full_start_ms(size_kib: int, direct: bool, directory: pathlib.Path) -> float:
    """From the start of the process to its first submit, as the run itself reports it."""
    spec = {"type": "fs", "base_path": str(directory), "use_odirect": direct}
    return native.l2(spec, *full_flags(size_kib)).expect(0).metrics["run"]["start_to_first_submit_ms"]


def full_flags(size_kib: int) -> list:
    flags = ["--num-keys", NUM_KEYS, "--in-flight", IN_FLIGHT, "--data-size-kb", size_kib, "--l1-align-bytes", 4096]
    return [*flags, "--warmup-rounds", 0, "--rounds", 1]


def seen_by_strace_ms(size_kib: int, direct: bool, directory: pathlib.Path) -> float:
    """From exec to the creation of the first object's temporary file, by the kernel's own clock, under strace's weight."""
    spec = json.dumps({"type": "fs", "base_path": str(directory), "use_odirect": direct})
    trace = directory / "trace"
    # Only opens and execs stop the process; every other call runs at full speed.
    command = ["strace", "-f", "--seccomp-bpf", "-ttt", "-e", "trace=execve,openat", "-o", str(trace), native.binary()]
    command += ["l2", "--l2-adapter", spec, "-q", *map(str, full_flags(size_kib))]
    subprocess.run(command, check=True, capture_output=True)
    lines = trace.read_text().splitlines()
    moment = lambda text: next(float(line.split()[1]) for line in lines if text in line)
    return (moment('.tmp"') - moment("execve(")) * 1000


@dataclasses.dataclass
class Starts:
    """Milliseconds of each run; of the last two one list for each of FULL_STARTS."""

    reference_ms: list[float]
    fs_ms: list[float]
    mock_ms: list[float]
    full_ms: list[list[float]]
    strace_ms: list[list[float]]


def measure_starts(tree: Tree, count: int) -> Starts:
    starts = Starts([], [], [], [[] for _ in FULL_STARTS], [[] for _ in FULL_STARTS])
    # Any bandwidth above what memory gives makes the mock adapter instantaneous.
    mock = {"type": "mock", "max_size_gb": 1, "mock_bandwidth_gb": 1_000_000}
    for _ in range(count):
        starts.reference_ms.append(reference_start_ms(tree.fresh()))
        starts.fs_ms.append(our_start_ms({"type": "fs", "base_path": str(tree.fresh())}))
        starts.mock_ms.append(our_start_ms(mock))
        for (size_kib, direct), own, seen in zip(FULL_STARTS, starts.full_ms, starts.strace_ms):
            touch_memory()
            own.append(full_start_ms(size_kib, direct, tree.fresh()))
            if shutil.which("strace"):
                touch_memory()
                seen.append(seen_by_strace_ms(size_kib, direct, tree.fresh()))
    return starts


def start_table(starts: Starts) -> report.Table:
    bar = f"<= {FIRST_OPERATION_BAR_MS:.0f}"
    verdict = lambda times: "pass" if statistics.median(times) <= FIRST_OPERATION_BAR_MS else "FAIL"
    table = report.Table("program", "clock", "ms", "bar", "verdict", "from outside, strace")
    table.add(lmcache.NAME, "start of the process to the end of its first round", quartiles(starts.reference_ms), "", "", "")
    whole = "the whole process"
    table.add("lmcache-bench, `fs`, 1 key", whole, quartiles(starts.fs_ms, 1), bar, verdict(starts.fs_ms), "")
    table.add("lmcache-bench, `mock`, 1 key", whole, quartiles(starts.mock_ms, 1), "", "", "")
    for (size_kib, direct), own, seen in zip(FULL_STARTS, starts.full_ms, starts.strace_ms):
        name = f"lmcache-bench, {'O_DIRECT' if direct else 'buffered'}, {IN_FLIGHT} submits x {NUM_KEYS} keys x {size_kib} KiB"
        outside = quartiles(seen, 1) if seen else "no strace here"
        table.add(name, "start to first submit", quartiles(own, 1), bar, verdict(own), outside)
    return table
