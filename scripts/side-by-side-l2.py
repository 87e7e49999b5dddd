#!/usr/bin/env python3
"""Measures `lmcache-bench l2` beside LMCache 0.5.6's own bench of its own `fs` adapter, interleaved in one run.

Slices alternate reference, ours, reference, ours, ..., reference; each of ours is divided by the harmonic mean of its
two neighbours, so that a machine whose speed drifts during the run does not favour one side. Standard library only;
the reference runs in its own environment (scripts/peers.sh lmcache).

    scripts/side-by-side-l2.py [--dir DIR] [--out docs/results/side-by-side-l2.md]

In parts, for machines that cannot be kept quiet for ten minutes: with `--state FILE` what was measured is kept there, and
the table is always made of all of it. `--rows` and `--sizes` say what a call measures; `--rows start` the start alone. The
objects then stay until somebody removes them.
"""

import argparse
import dataclasses
import datetime
import json
import mmap
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SCRIPTS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(SCRIPTS / "interop"))
sys.dont_write_bytecode = True
import creates
import native

NUM_KEYS, IN_FLIGHT = 32, 4
KEYS = NUM_KEYS * IN_FLIGHT
MIB, GIB = 1 << 20, 1 << 30
DISK_LIMIT_BYTES = 20 * GIB
MAX_SPREAD = 2.0
# A row whose reference slices spread too far is measured again; only the reference decides, never our own result.
ATTEMPTS = 3
FIRST_OPERATION_BAR_MS = 20.0
CPU_BAR = 1 / 3

# Names in our report. Reference keys first, ours after.
SUCCESS, OPS_PER_S = "total_success", "ops_per_sec_avg"
DETAIL, DETAIL_CPU, DETAIL_PATH, DETAIL_LABEL = "detail_0", "cpu_s_per_gib", "io_path", "device_label"


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


def all_rows(sizes_kib: list[int]) -> list[Row]:
    rows = []
    for size in sizes_kib:
        direct_bar = 1.5 if size <= 256 else 1.0
        rows += [Row("Store", size, False, 2.0), Row("Load", size, False, 2.5), Row("Lookup", size, False, 10.0)]
        rows += [Row("Store", size, True, direct_bar), Row("Load", size, True, direct_bar)]
    return rows


@dataclasses.dataclass
class Slice:
    keys_per_s: float
    cpu_s: float | None  # during the operation
    process_cpu_s: float | None = None  # of the whole process, start to end
    io_path: str = ""
    label: str = ""


class Reference:
    """The long-lived process that holds LMCache."""

    def __init__(self, environment: pathlib.Path):
        self.log = tempfile.TemporaryFile("w+")
        command = [str(environment / "bin" / "python"), str(SCRIPTS / "interop" / "slices.py")]
        quiet = {"LMCACHE_LOG_LEVEL": "ERROR", "LMCACHE_DISABLE_BANNER": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, **quiet},
        )
        self._answer()

    def measure(self, row: Row, directory: pathlib.Path) -> Slice:
        command = {"operation": row.operation, "spec": row.spec(directory), "data_size": row.size_kib * 1024}
        command |= {"num_keys": NUM_KEYS, "in_flight": IN_FLIGHT, "align": row.align}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        moved = 0 if row.operation == "Lookup" else row.slice_bytes
        if answer["keys_ok"] != KEYS or answer["bytes"] != moved or not answer["duration_s"]:
            raise SystemExit(f"the reference did not complete a slice of {row.name}: {answer}\n{self._log()}")
        return Slice(KEYS / answer["duration_s"], answer["cpu_s"])

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the reference process ended early:\n{self._log()}")
        return json.loads(line)

    def _log(self) -> str:
        self.log.seek(0)
        return self.log.read()[-4000:]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def ours(row: Row, directory: pathlib.Path) -> Slice:
    """One fresh process per slice: no warm-up round, cold threads and buffers."""
    flags = ["--num-keys", NUM_KEYS, "--in-flight", IN_FLIGHT, "--data-size-kb", row.size_kib]
    flags += ["--l1-align-bytes", row.align, "--warmup-rounds", 0, "--rounds", 1, "--only", row.operation.lower()]
    if row.operation == "Lookup":
        flags += ["--lookup-max-hit-rate", "1.0"]
    run = native.l2(row.spec(directory), *flags)
    section = run.metrics.get("op_0", {})
    if run.code != 0 or section.get(SUCCESS) != KEYS:
        raise SystemExit(f"ours did not complete a slice of {row.name}: {section}\n{run.stdout}{run.stderr}")
    detail = run.metrics.get(DETAIL, {})
    cpu_s = detail[DETAIL_CPU] * row.slice_bytes / GIB if DETAIL_CPU in detail else None
    path, label = str(detail.get(DETAIL_PATH, "")), str(detail.get(DETAIL_LABEL, ""))
    return Slice(section[OPS_PER_S], cpu_s, run.cpu_s, path, label)


# ---- one row ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Result:
    row: Row
    reference: list[Slice]
    ours: list[Slice]
    attempts: int

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.ours, self.reference, self.reference[1:])
        return [own.keys_per_s / statistics.harmonic_mean([a.keys_per_s, b.keys_per_s]) for own, a, b in pairs]

    @property
    def spread(self) -> float:
        speeds = [one.keys_per_s for one in self.reference]
        return max(speeds) / min(speeds)

    @property
    def verdict(self) -> str:
        if self.spread > MAX_SPREAD:
            return f"no verdict: reference spread {self.spread:.1f}x"
        return "pass" if statistics.median(self.ratios) >= self.row.bar else "FAIL"


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


TOUCH_BYTES = GIB


def touch_memory(amount: int = TOUCH_BYTES) -> None:
    """Uses and frees so much memory, so that what follows gets memory that the machine already holds.

    A virtual machine gets each page from its host when it first uses it, here at about 0.4 GiB/s a core, and gives it
    back when it has been free for two seconds or so. Without this right before a slice, a buffered store would show that
    instead of either adapter. What was freed last is given out first.
    """
    cores = os.cpu_count() or 1
    # Buffers want huge pages and the page cache large pieces, so both kinds of free memory are used: 2 MiB pages, then small.
    shares = [(amount // cores, mmap.MADV_HUGEPAGE), (amount // cores // 4, mmap.MADV_NOHUGEPAGE)]
    children = []
    for _ in range(cores):
        child = os.fork()
        if child == 0:
            held = []
            for share, advice in shares:
                pages = share // mmap.PAGESIZE
                memory = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                memory.madvise(advice)
                memory[:: mmap.PAGESIZE] = b"\1" * pages
                held.append(memory)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def measure(row: Row, reference: Reference, tree: Tree, pairs: int) -> Result:
    def one(side) -> Slice:
        directory = tree.fresh() if row.operation == "Store" else tree.stored_like(row)
        # Otherwise the dirty pages of one side are written back during the slice of the other.
        os.sync()
        touch_memory()
        return side(row, directory)

    for attempt in range(1, ATTEMPTS + 1):
        one(reference.measure), one(ours)  # discarded: fills caches alike for both sides
        slices = [one(ours if turn % 2 else reference.measure) for turn in range(2 * pairs + 1)]
        result = Result(row, slices[::2], slices[1::2], attempt)
        print(f"{row.size_kib:5} KiB {row.name:15} {row_ratio(result)}  {result.verdict}", file=sys.stderr)
        if result.spread <= MAX_SPREAD:
            break
    return result


# ---- time to the first operation ----------------------------------------------------------------------------------

FIRST_KEY = ["--num-keys", "1", "--warmup-rounds", "0", "--rounds", "1", "--only", "store"]


def reference_start_ms(environment: pathlib.Path, directory: pathlib.Path) -> float:
    """From starting `lmcache bench l2` to the line that says that its first round is over."""
    spec = json.dumps({"type": "fs", "base_path": str(directory)})
    command = [str(environment / "bin" / "lmcache"), "bench", "l2", "--l2-adapter", spec, *FIRST_KEY]
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "LMCACHE_LOG_LEVEL": "ERROR", "LMCACHE_DISABLE_BANNER": "1"}
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
    run = native.l2(spec, *FIRST_KEY)
    if run.code != 0:
        raise SystemExit(f"ours could not store one key: {run.stderr}")
    return run.wall_s * 1000


# Object KiB and whether O_DIRECT: a round of 128 objects for stores and another for loads, as in the tables above.
FULL_STARTS = [(256, False), (256, True), (1024, False), (1024, True)]


def full_start_ms(size_kib: int, direct: bool, directory: pathlib.Path) -> float:
    """From the start of the process to its first submit, as the run itself reports it."""
    run = native.l2({"type": "fs", "base_path": str(directory), "use_odirect": direct}, *full_flags(size_kib))
    if run.code != 0:
        raise SystemExit(f"ours failed: {run.stderr}")
    return run.metrics["run"]["start_to_first_submit_ms"]


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
    reference_ms: list[float]
    fs_ms: list[float]
    mock_ms: list[float]
    # One list for each of FULL_STARTS.
    full_ms: list[list[float]]
    strace_ms: list[list[float]]


def measure_starts(environment: pathlib.Path, tree: Tree, count: int) -> Starts:
    starts = Starts([], [], [], [[] for _ in FULL_STARTS], [[] for _ in FULL_STARTS])
    # Any bandwidth above what memory gives makes the mock adapter instantaneous.
    mock = {"type": "mock", "max_size_gb": 1, "mock_bandwidth_gb": 1_000_000}
    for _ in range(count):
        starts.reference_ms.append(reference_start_ms(environment, tree.fresh()))
        starts.fs_ms.append(our_start_ms({"type": "fs", "base_path": str(tree.fresh())}))
        starts.mock_ms.append(our_start_ms(mock))
        for (size_kib, direct), own, seen in zip(FULL_STARTS, starts.full_ms, starts.strace_ms):
            touch_memory()
            own.append(full_start_ms(size_kib, direct, tree.fresh()))
            if shutil.which("strace"):
                touch_memory()
                seen.append(seen_by_strace_ms(size_kib, direct, tree.fresh()))
    return starts


# ---- what was measured, kept between calls -------------------------------------------------------------------------


@dataclasses.dataclass
class State:
    results: list[Result]
    starts: Starts | None = None
    creates_us: list[float] = dataclasses.field(default_factory=list)

    @staticmethod
    def read(path: pathlib.Path | None) -> "State":
        if path is None or not path.exists():
            return State([])
        kept = json.loads(path.read_text())
        slices = lambda values: [Slice(**value) for value in values]
        results = [
            Result(Row(**one["row"]), slices(one["reference"]), slices(one["ours"]), one["attempts"])
            for one in kept["results"]
        ]
        return State(results, Starts(**kept["starts"]) if kept["starts"] else None, kept["creates_us"])

    def add(self, result: Result) -> None:
        self.results = [one for one in self.results if one.row != result.row] + [result]
        order = all_rows(sorted({one.row.size_kib for one in self.results}))
        self.results.sort(key=lambda one: order.index(one.row))

    def write(self, path: pathlib.Path | None) -> None:
        if path is not None:
            path.write_text(json.dumps(dataclasses.asdict(self)))


# ---- the written result -------------------------------------------------------------------------------------------


def three(values: list[float], decimals: int = 0) -> str:
    """Median and quartiles, by linear interpolation."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"


def row_ratio(result: Result) -> str:
    return f"{three(result.ratios, 2)}, bar {result.row.bar:.1f}"


def speeds(row: Row, slices: list[Slice]) -> str:
    scale = 1000 if row.operation == "Lookup" else MIB / (row.size_kib * 1024)
    return three([one.keys_per_s / scale for one in slices])


def throughput_table(results: list[Result]) -> list[str]:
    lines = ["| operation | object | LMCache 0.5.6 | lmcache-bench | ratio per pair | bar | verdict | our I/O path |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for result in results:
        row = result.row
        unit = "thousand keys/s" if row.operation == "Lookup" else "MiB/s"
        path = "; ".join(filter(None, [result.ours[-1].io_path, result.ours[-1].label])) or "not reported"
        lines.append(
            f"| {row.name}, {unit} | {row.size_kib} KiB | {speeds(row, result.reference)} | {speeds(row, result.ours)} "
            f"| {three(result.ratios, 2)} | >= {row.bar:.1f} | {result.verdict} | {path} |"
        )
    return lines


def cpu_table(results: list[Result]) -> list[str]:
    lines = ["| operation | object | LMCache 0.5.6 | lmcache-bench | its whole process | ratio | bar | verdict |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for result in results:
        row = result.row
        if row.operation == "Lookup":
            continue
        gib = row.slice_bytes / GIB
        theirs = [one.cpu_s / gib for one in result.reference]
        whole = [one.process_cpu_s / gib for one in result.ours]
        own = [one.cpu_s / gib for one in result.ours if one.cpu_s is not None] or whole
        ratio = statistics.median(own) / statistics.median(theirs)
        verdict = "pass" if ratio <= CPU_BAR else "FAIL"
        lines.append(
            f"| {row.name} | {row.size_kib} KiB | {three(theirs, 2)} | {three(own, 3)} | {three(whole, 2)} "
            f"| {ratio:.2f} | <= {CPU_BAR:.2f} | {verdict} |"
        )
    return lines


def start_table(starts: Starts) -> list[str]:
    bar = f"<= {FIRST_OPERATION_BAR_MS:.0f}"
    verdict = lambda times: "pass" if statistics.median(times) <= FIRST_OPERATION_BAR_MS else "FAIL"
    lines = [
        "| program | clock | ms | bar | verdict | from outside, strace |",
        "|---|---|---|---|---|---|",
        f"| LMCache 0.5.6 | start of the process to the end of its first round | {three(starts.reference_ms)} | | | |",
        f"| lmcache-bench, `fs`, 1 key | the whole process | {three(starts.fs_ms, 1)} | {bar} | {verdict(starts.fs_ms)} | |",
        f"| lmcache-bench, `mock`, 1 key | the whole process | {three(starts.mock_ms, 1)} | | | |",
    ]
    for (size_kib, direct), own, seen in zip(FULL_STARTS, starts.full_ms, starts.strace_ms):
        kind = "O_DIRECT" if direct else "buffered"
        outside = three(seen, 1) if seen else "no strace here"
        lines.append(
            f"| lmcache-bench, {kind}, {IN_FLIGHT} submits x {NUM_KEYS} keys x {size_kib} KiB | start to first submit "
            f"| {three(own, 1)} | {bar} | {verdict(own)} | {outside} |"
        )
    return lines


def file_system(directory: pathlib.Path) -> str:
    mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    inside = [mount for mount in mounts if directory.is_relative_to(mount[1])]
    return max(inside, key=lambda mount: len(mount[1]))[2]


def machine(directory: pathlib.Path) -> str:
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    cores = len(os.sched_getaffinity(0))
    return f"Linux {platform.release()}, {cores} cores ({model}), {memory:.0f} GiB memory, {file_system(directory)}"


def how(results: list[Result], creates_us: list[float]) -> str:
    repeated = [f"{r.row.size_kib} KiB {r.row.name} ({r.attempts} times)" for r in results if r.attempts > 1]
    again = f"Measured again: {', '.join(repeated)}." if repeated else ""
    before_us, after_us = min(creates_us), max(creates_us)
    return f"""\
- Both sides run the `fs` adapter with the same flags on one directory tree; every store slice gets a directory of its
  own, and nothing is deleted before the last measurement. Nobody calls fsync; `sync` runs between slices.
- Buffered loads: one set of objects, read by both from the warm page cache, so they say nothing about the device.
  O_DIRECT loads: one set of objects stored with O_DIRECT, none of it in the page cache.
- The reference is LMCache's own bench runner and adapter in one process that stays; its imports are not measured, its
  threads are started before the clock. Ours is a fresh process for each slice, without a warm-up round.
- CPU seconds run from first submit to last completion, all threads and the kernel's share; the whole process of ours
  includes starting, filling the buffers and reporting.
- Before every slice 1 GiB of memory is used and freed: a virtual machine gets new memory from its host far more slowly
  (here about 2.4 CPU s/GiB) than either side fills it, and that is not storage. The starts too: where the host must give
  the buffers' memory first, 128 MiB of it take 40 to 300 ms. What remains of the start at 1 MiB is the kernel zeroing
  128 MiB of pages and this program stamping them, both at memory speed; the load buffers are made when loads begin.
- Start to first submit: as the run reports it (from `main`). From outside: from exec to the creation of the first object's
  temporary file, by strace, which adds its own time.
- Ours puts its buffers into transparent huge pages where the kernel grants them; LMCache's lie in ordinary pages, which
  a virtual disk copies from and to more slowly. Both do so by default, so the comparison keeps it.
- Creating an empty file took {before_us:.0f} to {after_us:.0f} us (medians, before the first slice and after the last).
  Above {creates.SLOW_US:.0f} us recent deletions nearby slow down the stores of both sides and raise their CPU time.
- No verdict where the reference's own slices spread more than {MAX_SPREAD:.0f}x (tried {ATTEMPTS} times). {again}"""


def document(state: State, directory: pathlib.Path, pairs: int) -> str:
    results = state.results
    today = datetime.datetime.now(datetime.timezone.utc).date()
    lines = [
        "# `lmcache-bench l2` beside LMCache 0.5.6, `fs` adapter",
        "",
        f"Made by `scripts/side-by-side-l2.py` on {today}. Machine: {machine(directory)}.",
        "",
        f"{IN_FLIGHT} submits in flight x {NUM_KEYS} keys; {pairs} slices of ours between {pairs + 1} of LMCache. "
        "Figures are medians and quartiles; a ratio is one slice of ours over the harmonic mean of its two neighbours.",
        "",
        "## Throughput",
        "",
        *throughput_table(results),
        "",
        "## CPU seconds per GiB",
        "",
        *cpu_table(results),
        "",
        "## Time to the first operation",
        "",
        *(start_table(state.starts) if state.starts else ["Not measured."]),
        "",
        "## How",
        "",
        how(results, state.creates_us).rstrip(),
    ]
    return "\n".join(lines) + "\n"


# ---- main ---------------------------------------------------------------------------------------------------------


def require_space(rows: list[Row], pairs: int, directory: pathlib.Path) -> None:
    stores = sum(row.slice_bytes for row in rows if row.operation == "Store")
    need = stores * (ATTEMPTS * (2 * pairs + 3) + 1)
    free = shutil.disk_usage(directory).free
    if need > DISK_LIMIT_BYTES:
        raise SystemExit(f"this run could write {need / GIB:.1f} GiB, more than 20: ask for fewer --pairs or --sizes")
    if free < need + GIB:
        raise SystemExit(
            f"this run could write {need / GIB:.1f} GiB, {free / GIB:.1f} GiB are free: name another --dir"
        )


def lmcache_environment() -> pathlib.Path:
    done = subprocess.run([str(SCRIPTS / "peers.sh"), "lmcache"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit("the reference could not be installed: see above")
    return pathlib.Path(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=pathlib.Path, default=pathlib.Path(os.environ.get("TMPDIR", "/var/tmp")))
    parser.add_argument("--out", type=pathlib.Path, help="also write the result to this file")
    parser.add_argument("--pairs", type=int, default=7, help="slices of ours per row (default 7; fewer is a trial)")
    parser.add_argument("--sizes", default="256,1024", help="object sizes in KiB (default 256,1024)")
    parser.add_argument("--rows", default="", help="only rows whose name matches this pattern; `start` for the start")
    parser.add_argument("--state", type=pathlib.Path, help="keep what was measured here, and add to it")
    arguments = parser.parse_args()
    if arguments.pairs < 2:
        parser.error("--pairs must be at least 2")
    wanted = re.compile(arguments.rows).search
    rows = [row for row in all_rows([int(size) for size in arguments.sizes.split(",")]) if wanted(row.name)]
    if not pathlib.Path(native.binary()).exists():
        raise SystemExit(f"{native.binary()} does not exist: run `cargo build --release`, or set LMCACHE_BENCH_BIN")
    require_space(rows, arguments.pairs, arguments.dir)
    environment = lmcache_environment()

    root = pathlib.Path(tempfile.mkdtemp(prefix="lmcache-bench-side-", dir=arguments.dir)).resolve()
    try:
        tree = Tree(root)
        state = State.read(arguments.state)
        state.creates_us.append(creates.wait_until_quick(root))
        if rows:
            reference = Reference(environment)
            for row in rows:
                state.add(measure(row, reference, tree, arguments.pairs))
                state.write(arguments.state)
            reference.close()
        if wanted("start"):
            state.starts = measure_starts(environment, tree, arguments.pairs)
        state.creates_us.append(creates.cost_us(root))
        state.write(arguments.state)
        text = document(state, root, arguments.pairs)
    finally:
        # Deleting slows the creates of whatever part is measured next.
        if arguments.state is None:
            shutil.rmtree(root)
        else:
            print(f"remove when all parts are measured: {root}", file=sys.stderr)
    print(text, end="")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)
    return 1 if "FAIL" in text or "no verdict:" in text else 0


if __name__ == "__main__":
    sys.exit(main())
