#!/usr/bin/env python3
"""Measures `lmcache-bench server` beside LMCache 0.5.6's own `lmcache bench server`, in turn, against one real server.

Two servers are started on loopback ports of their own, one after the other: without shared memory (chunks travel inside the
messages) and with it. Runs alternate reference, ours, reference, ours; medians and ratios are over all rounds. Standard library
only; LMCache runs in its own environment (scripts/peers.sh lmcache).

    scripts/server-side-by-side.py [--rounds N] [--out docs/results/server-side-by-side.md]
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request

SCRIPTS = pathlib.Path(__file__).resolve().parent
BIN = SCRIPTS.parent / "target" / "release" / "lmcache-bench"
MIB = 1 << 20
PER_RUN = 3
READY_S = 120
# All blocks are used, so that the tensors are resident as a whole: 64 MiB.
SMALL_SHAPE, SMALL_BYTES = "(2,32,16,8,128):float16:32", 64 * MIB
QUIET = {"LMCACHE_DISABLE_BANNER": "1", "LMCACHE_LOG_LEVEL": "ERROR", "PYTHONDONTWRITEBYTECODE": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A real cache server, stopped at the end."""

    def __init__(self, environment: pathlib.Path, folder: pathlib.Path, *flags: str):
        self.rpc, self.http = free_port(), free_port()
        command = [environment / "bin" / "lmcache", "server", "--host", "127.0.0.1", "--port", str(self.rpc)]
        command += ["--http-host", "127.0.0.1", "--http-port", str(self.http), "--l1-size-gb", "2"]
        command += ["--eviction-policy", "LRU", "--chunk-size", "256", "--supported-transfer-mode", "auto", *flags]
        self.log = open(folder / f"server-{self.rpc}.log", "w")
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, env={**os.environ, **QUIET}, start_new_session=True
        )
        deadline = time.monotonic() + READY_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.http}/healthcheck", timeout=1).read()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit(f"the server did not start: see {self.log.name}") from None
                time.sleep(0.2)

    @property
    def urls(self) -> list[str]:
        return ["--rpc-url", f"tcp://127.0.0.1:{self.rpc}", "--url", f"http://127.0.0.1:{self.http}"]

    def clear(self) -> None:
        """The reference has no salt: without this its next run would meet its own entries."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/cache/clear", b'{"force": true}', {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=30).read()

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()


class Peak(threading.Thread):
    """The most private memory that a process had, seen every few milliseconds."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.status, self.kib = f"/proc/{pid}/status", 0
        self.start()

    def run(self) -> None:
        try:
            while True:
                for line in open(self.status):
                    if line.startswith("RssAnon:"):
                        self.kib = max(self.kib, int(line.split()[1]))
                time.sleep(0.002)
        except OSError:
            pass


def run(command: list, env: dict | None = None) -> tuple[float, int]:
    """Wall time in seconds and peak private memory in bytes."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **(env or {})}, text=True
    )
    peak = Peak(process.pid)
    complaint = process.stderr.read()
    if process.wait() != 0:
        raise SystemExit(f"{command} ended with {process.returncode}: {complaint}")
    return time.monotonic() - begun, peak.kib * 1024


def ours(server: Server, folder: pathlib.Path, *flags: str) -> dict:
    out = folder / "ours.json"
    command = [BIN, "server", "--mode", "cpu", *server.urls, "--start", "0", "--end", str(PER_RUN)]
    command += ["--interval", "0.05", "-q", "--format", "json", "--output", out, *flags]
    wall, peak = run(command)
    metrics = json.loads(out.read_text())["metrics"]
    if metrics["results"]["pass_rate"] != 100:
        raise SystemExit(f"our run did not pass: {out.read_text()}")
    detail = metrics["detail"]
    figures = {"wall_s": wall, "peak": peak, "first_rpc_ms": metrics["run"]["start_to_first_rpc_ms"]}
    # Inside an operation our process works or is blocked by the server. Where it makes pages on two cores, its CPU time is more
    # than the time that passes, and the difference counts against it here.
    blocked = sum(metrics[lookup][f"{lookup}_mean"] for lookup in ("cold_lookup", "warm_lookup"))
    for name, key in (("store", "cold_store"), ("retrieve", "warm_retrieve")):
        figures[f"{name}_ms"] = metrics[key][f"{key}_p50"]
        figures[f"{name}_client_ms"] = detail[key]["copy_p50_ms"] or 0.0
        figures[f"{name}_cpu_ms"] = detail[key]["cpu_p50_ms"]
        blocked += metrics[key][f"{key}_mean"] - detail[key]["cpu_p50_ms"]
    figures["own_s"] = wall - blocked * PER_RUN / 1e3
    return figures


def reference(server: Server, folder: pathlib.Path, environment: pathlib.Path) -> dict:
    server.clear()
    out = folder / "reference.json"
    command = [environment / "bin" / "python", SCRIPTS / "interop" / "reference_server.py", out, "server"]
    command += ["--mode", "cpu", *server.urls, "--start", "0", "--end", str(PER_RUN), "--interval", "0.05", "-q"]
    wall, peak = run(command, QUIET)
    record = json.loads(out.read_text())
    figures = {"wall_s": wall, "peak": peak, "first_rpc_ms": record["start_to_first_lookup_s"] * 1e3}
    for name in ("store", "retrieve"):
        mine = [operation for operation in record["operations"] if operation["operation"] == name]
        if len(mine) != PER_RUN:
            raise SystemExit(f"the reference did {len(mine)} of {PER_RUN} {name}s")
        figures[f"{name}_ms"] = statistics.median(one["latency_ms"] for one in mine)
        figures[f"{name}_client_ms"] = statistics.median(one["latency_ms"] - one["wait_ms"] for one in mine)
        figures[f"{name}_cpu_ms"] = statistics.median(one["cpu_ms"] for one in mine)
    in_server = sum(one["wait_ms"] for one in record["operations"]) / 1e3
    figures["own_s"] = wall - in_server
    return figures


def median(rounds: list[dict], key: str) -> float:
    return statistics.median(one[key] for one in rounds)


def compare(name: str, server: Server, folder: pathlib.Path, environment: pathlib.Path, rounds: int) -> list[str]:
    theirs, mine = [], []
    for _ in range(rounds):
        theirs.append(reference(server, folder, environment))
        mine.append(ours(server, folder))
    lines = []
    for key, label, bar in (
        ("store_ms", "store, ms", None),
        ("store_cpu_ms", "store, client-side share (CPU time), ms", 0.1),
        ("store_client_ms", "store, moving bytes, ms", None),
        ("retrieve_ms", "retrieve, ms", None),
        ("retrieve_cpu_ms", "retrieve, client-side share (CPU time), ms", 0.1),
        ("retrieve_client_ms", "retrieve, moving bytes, ms", None),
        ("wall_s", "whole run of 3 sequences, s", None),
    ):
        ratio = median(mine, key) / median(theirs, key)
        bar = bar if name == "inline" else None
        verdict = ["", ""] if bar is None else [f"<= {bar}", "yes" if ratio <= bar else "no"]
        lines.append(row(name, label, f"{median(theirs, key):.3g}", f"{median(mine, key):.3g}", f"{ratio:.3f}", *verdict))
    first, own = median(mine, "first_rpc_ms"), median(mine, "own_s")
    theirs_first = median(theirs, "first_rpc_ms")
    lines.append(row(name, "start to first RPC, ms", f"{theirs_first:.0f}", f"{first:.2f}", "", "< 50", yes(first < 50)))
    label = "whole run without the server's time, s"
    lines.append(row(name, label, f"{median(theirs, 'own_s'):.2f}", f"{own:.2f}", "", "< 0.5", yes(own < 0.5)))
    return lines


def touched(server: Server, folder: pathlib.Path, pool: pathlib.Path, rounds: int) -> str:
    """The same again once all of the server's pool has its memory: until then whoever first writes to a page waits for it."""
    with open(pool, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, pool.stat().st_size)
    own = statistics.median(ours(server, folder)["own_s"] for _ in range(rounds))
    label = "the same, in a pool that has its memory already, s"
    return row("shared memory", label, "", f"{own:.2f}", "", "< 0.5", yes(own < 0.5))


def memory(server: Server, folder: pathlib.Path, name: str) -> str:
    peak = ours(server, folder, "--kvcache-shape-spec", SMALL_SHAPE)["peak"]
    beyond = (peak - SMALL_BYTES) / MIB
    label = "private memory beyond 64 MiB of tensors, MiB"
    return row(name, label, "", f"{beyond:.1f}", "", "<= 32", yes(beyond <= 32))


def lookups(folder: pathlib.Path) -> str:
    """Both requests of a lookup against the mock server, which answers at once."""
    mock = subprocess.Popen([BIN, "mock", "server", "--port", "0", "--http-port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        _, _, rpc, http = mock.stdout.readline().split()
        out = folder / "lookups.json"
        command = [BIN, "server", "--mode", "cpu", "--rpc-url", rpc, "--url", http, "--end", "2000", "--interval", "0", "-q"]
        run([*command, "--kvcache-shape-spec", "(2,64,16,2,64):float16:2", "--format", "json", "--output", out])
        p50_us = json.loads(out.read_text())["metrics"]["warm_lookup"]["warm_lookup_p50"] * 1e3
    finally:
        mock.terminate()
        mock.wait()
    return row("mock server", "lookup (two round trips) p50, us", "", f"{p50_us:.0f}", "", "< 60", yes(p50_us < 60))


def copies() -> list[str]:
    """Gather and scatter against a plain copy of the same bytes, in one process."""
    command = ["cargo", "run", "--release", "--locked", "--quiet", "--example", "copy_speed"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=SCRIPTS)
    line = next(line for line in done.stdout.splitlines() if line.startswith("copy_speed "))
    figures = {name: float(value) for name, value in (pair.split("=") for pair in line.split()[1:])}
    lines = []
    for name in ("gather", "scatter"):
        ratio, speed = figures[f"{name}_ratio"], figures[f"{name}_gib_s"]
        label = f"{name}, share of a plain copy of the same bytes ({speed:.1f} GiB/s)"
        lines.append(row("shared memory", label, "", "", f"{ratio:.2f}", ">= 0.8", yes(ratio >= 0.8)))
    return lines


def yes(met: bool) -> str:
    return "yes" if met else "no"


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    peers = subprocess.run([SCRIPTS / "peers.sh", "lmcache"], check=True, stdout=subprocess.PIPE, text=True)
    environment = pathlib.Path(peers.stdout.splitlines()[-1])
    lines = []
    with tempfile.TemporaryDirectory(prefix="lmcache-bench-side-") as scratch:
        folder = pathlib.Path(scratch)
        for name, flags in (("inline", []), ("shared memory", ["--shm-name", f"side-{os.getpid()}"])):
            server = Server(environment, folder, *flags)
            try:
                lines += compare(name, server, folder, environment, arguments.rounds)
                if flags:
                    lines.append(touched(server, folder, pathlib.Path("/dev/shm", f"lmcache_l1_pool_{flags[1]}"), arguments.rounds))
                lines.append(memory(server, folder, name))
            finally:
                server.stop()
        lines.append(lookups(folder))
        lines += copies()
    text = "\n".join(
        [
            "# `server` beside LMCache's own bench",
            "",
            f"Made by `scripts/server-side-by-side.py` on {datetime.date.today()}; medians of {arguments.rounds} rounds of"
            f" {PER_RUN} sequences (512 tokens, 64 MiB each),",
            f"in turn against one LMCache 0.5.6 server. {os.cpu_count()} cores, Linux {platform.release()}.",
            "",
            "Client-side share: CPU time of the client's process inside the operation, sending and receiving included on both"
            " sides.",
            "Moving bytes: of the reference, the latency without the time in which it waits for a reply, while a thread of"
            " its own sends and",
            "receives; ours, the time from the first byte to the last, at the pace at which the server takes or gives them."
            " So the two differ in kind.",
            "Whole run without the server's time: wall time less what the client was blocked inside operations; it contains"
            " five pauses of 0.05 s.",
            "In shared memory it also contains the first touch of the server's pool: the kernel makes each page when"
            " somebody first writes to it,",
            "and a store is the first to do so. A row of its own shows the run when the pool has all its memory already.",
            "",
            row("transfer", "figure", "reference", "ours", "ratio", "bar", "met"),
            row("---", "---", "---", "---", "---", "---", "---"),
            *lines,
            "",
        ]
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
