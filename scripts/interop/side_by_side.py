"""What the side-by-side scripts for services share: the contestants' slices, medians, a network of one's own. Standard
library only."""

import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

import native
import servers

HERE = pathlib.Path(__file__).resolve().parent
MIB, GIB = 1 << 20, 1 << 30
ROUNDS, WARMUP = 8, 1
OPERATIONS = ("Store", "Load")


@dataclasses.dataclass
class Load:
    """The same rounds for every contestant."""

    num_keys: int
    in_flight: int
    data_size: int

    @property
    def keys(self) -> int:
        return self.num_keys * self.in_flight

    @property
    def round_mib(self) -> float:
        return self.keys * self.data_size / MIB


@dataclasses.dataclass
class Slice:
    """One operation of one contestant."""

    mib_s: float
    client_s_per_gib: float | None
    server_s_per_gib: float
    path: str = ""

    @property
    def server_share(self) -> float:
        """Of one core, while the operation ran."""
        return self.server_s_per_gib * self.mib_s / 1024


class Lmcache:
    """LMCache's own runner on LMCache's own adapter, as `lmcache bench l2` has them, in a process that lives for all
    slices."""

    def __init__(self, spec: dict, load: Load, server: servers.Server, model: str | None = None):
        python = pathlib.Path(servers.peers("lmcache"), "bin", "python")
        words = [python, HERE / "service_slices.py", json.dumps(spec), load.num_keys, load.in_flight, load.data_size]
        words += [model] if model else []
        environment = {**os.environ, "LMCACHE_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
        self.load, self.server = load, server
        self.process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"LMCache's adapter ended with {self.process.wait()}")
        return json.loads(line)

    def _run(self, operation: str, first_round: int, rounds: int) -> dict:
        command = {"operation": operation, "first_round": first_round, "rounds": rounds}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if answer["keys_ok"] != rounds * self.load.keys:
            raise AssertionError(f"LMCache's {operation} did {answer['keys_ok']} of {rounds * self.load.keys} keys")
        return answer

    def slice(self) -> dict[str, Slice]:
        """A store and a load of the same keys, each after a warm-up round."""
        slices = {}
        for operation in OPERATIONS:
            self._run(operation, 0, WARMUP)
            before = self.server.cpu_s()
            answer = self._run(operation, WARMUP, ROUNDS)
            server_s = self.server.cpu_s() - before
            mib = self.load.round_mib * ROUNDS
            slices[operation] = Slice(
                mib / sum(answer["durations_s"]), answer["cpu_s"] / mib * 1024, server_s / mib * 1024
            )
        return slices

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


def ours(spec: dict, load: Load, server: servers.Server, *flags: object) -> dict[str, Slice]:
    """The same rounds by our binary, a fresh process for each operation. The server's CPU time includes the warm-up."""
    flags = ["--num-keys", load.num_keys, "--in-flight", load.in_flight, "--data-size-kb", load.data_size // 1024, *flags]
    flags += ["--rounds", ROUNDS, "--warmup-rounds", WARMUP, "--l1-align-bytes", 4096]
    slices = {}
    for operation in OPERATIONS:
        before = server.cpu_s()
        run = native.l2(spec, *flags, "--only", operation.lower()).expect(0)
        server_s = server.cpu_s() - before
        seconds = run.metrics["op_0"]["duration_avg_ms"] / 1e3
        detail = run.metrics["detail_0"]
        slices[operation] = Slice(
            load.round_mib / seconds,
            detail["cpu_s_per_gib"],
            server_s / (load.round_mib * (ROUNDS + WARMUP)) * 1024,
            detail["io_path"],
        )
    return slices


def bridged(spec: dict, load: Load) -> dict[str, Slice]:
    """LMCache's adapter in our harness: `--via lmcache`. One process for both operations, because it starts slowly."""
    python = pathlib.Path(servers.peers("lmcache"), "bin", "python")
    flags = ["--via", "lmcache", "--python", python, "--num-keys", load.num_keys, "--in-flight", load.in_flight]
    flags += ["--data-size-kb", load.data_size // 1024, "--rounds", ROUNDS, "--warmup-rounds", WARMUP]
    run = native.l2(spec, *flags, "--l1-align-bytes", 4096).expect(0)
    sections = [run.metrics[name] for name in ("op_0", "op_1", "op_2")]
    seconds = {section["operation"]: section["duration_avg_ms"] / 1e3 for section in sections}
    return {operation: Slice(load.round_mib / seconds[operation], None, 0.0) for operation in OPERATIONS}


# Slices of contestants that start slowly.
RARE_SLICES = 3


def in_turn(contestants: dict, slices: int, rare: tuple[str, ...] = ()) -> dict[str, dict[str, list[Slice]]]:
    """Every contestant in every slice, one after the other, the rare ones in the first few; by contestant and operation. The
    first slice is discarded: a virtual machine gets memory that was never used from its host far more slowly than any
    contestant fills it."""
    results = {name: {operation: [] for operation in OPERATIONS} for name in contestants}
    for index in range(slices + 1):
        for name, run in contestants.items():
            if name in rare and not 0 < index <= RARE_SLICES:
                continue
            for operation, one in run().items():
                if index > 0:
                    results[name][operation].append(one)
    return results


def spread(values: list[float], decimals: int = 0) -> str:
    return f"{statistics.median(values):.{decimals}f} ({min(values):.{decimals}f} to {max(values):.{decimals}f})"


def speed(slices: list[Slice]) -> str:
    return spread([one.mib_s for one in slices])


def ratio(ours_: list[Slice], others: list[Slice]) -> tuple[float, str]:
    """Median of the slices' own ratios, so that a machine that drifts favours nobody."""
    # Those that come rarely come in the first slices.
    ratios = [mine.mib_s / other.mib_s for mine, other in zip(ours_, others)]
    return statistics.median(ratios), spread(ratios, 2)


def cost(slices: list[Slice]) -> str:
    """Client and server CPU seconds per GiB, and the server's share of a core."""
    client = [one.client_s_per_gib for one in slices]
    shown = "" if None in client else f"{statistics.median(client):.2f}"
    server = statistics.median(one.server_s_per_gib for one in slices)
    return f"{shown} | {server:.2f} | {statistics.median(one.server_share for one in slices):.2f}"


def congestion_control() -> str:
    return pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def in_own_namespaces(congestion: str) -> None:
    """Starts this script again with a network of its own, whose TCP uses this congestion control, and mounts of its own; the
    machine's settings stay and everything is gone with the script. BBR, where a machine has it, paces even loopback as if
    there were a link."""
    if os.environ.get("LMCACHE_BENCH_OWN_NETWORK"):
        return
    script = f'ip link set lo up && echo {congestion} >/proc/sys/net/ipv4/tcp_congestion_control && exec "$@"'
    command = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", sys.executable, *sys.argv]
    os.execvpe(command[0], command, {**os.environ, "LMCACHE_BENCH_OWN_NETWORK": "1"})


@contextlib.contextmanager
def memory(directory: pathlib.Path, huge_pages: bool):
    """A tmpfs whose files lie in huge pages or in small ones. Only after in_own_namespaces()."""
    directory.mkdir(parents=True, exist_ok=True)
    huge = "always" if huge_pages else "never"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"huge={huge},size=6g", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def machine() -> str:
    return f"{os.cpu_count()} cores, Linux {platform.release()}, TCP {congestion_control()}"


def write(out: pathlib.Path | None, text: str) -> None:
    print(text)
    if out:
        out.write_text(text)
