"""Faults of real servers during a run: killed, refusing, silent, full, read-only, a lost primary, overloaded. The checks compare
what a run reports as stored with what the server holds, and that a run goes on when the server is back. Standard library only."""

import contextlib
import os
import pathlib
import signal
import socket
import threading
import time

from interop.network_specs import IN_FLIGHT, ours, resp_spec, s3_spec, succeeded, valkey_spec
from lib import native, services
from lib.checks import require

WAIT_S = 60.0
# CPU time of the benchmark in which some hundred of its requests fail, on any machine.
FAULT_CPU_S = 0.02


def first_failure(run: native.Run) -> str:
    return run.stderr.splitlines()[0].split(": ", 2)[2]


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {WAIT_S:.0f} s for {what}")
        time.sleep(0.001)


def held(redis: services.Redis) -> int:
    return int(redis.ask("DBSIZE")[1:])


class Benchmark:
    """The running benchmark, as the thread that makes the fault sees it. Its progress decides when a fault begins and ends, and it
    is stopped while a server starts, so that the speed of the machine does not change the result of a check."""

    def __init__(self, pid: int):
        self.pid = pid

    def running(self) -> None:
        over = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        require(over is None, "the run was over before the fault was")

    def cpu_s(self) -> float:
        """Also of threads that have ended."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def works(self, cpu_s: float = FAULT_CPU_S) -> None:
        """Waits until it has used this much more CPU time."""
        self.running()
        enough = self.cpu_s() + cpu_s
        wait_until(lambda: self.running() or self.cpu_s() >= enough, "the benchmark to work")

    @contextlib.contextmanager
    def held(self):
        self.running()
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


def while_running(fault, spec: dict, flags: list) -> native.Run:
    """A run with `fault` in a thread; an error in either is raised."""
    trouble, beside = [], []

    def guarded(pid: int) -> None:
        try:
            fault(Benchmark(pid))
        except Exception as error:  # noqa: BLE001 - raised below
            trouble.append(error)

    def watch(pid: int) -> None:
        beside.append(threading.Thread(target=guarded, args=(pid,)))
        beside[0].start()

    try:
        finished = ours(spec, *flags, watch=watch)
    finally:
        for thread in beside:
            thread.join()
    if trouble:
        raise trouble[0]
    return finished


def out_of_memory(program: str, scratch: pathlib.Path) -> str:
    options = ("--maxmemory", "6mb", "--maxmemory-policy", "noeviction")
    with services.Redis(program, scratch / "server", None, *options) as redis:
        run = ours(resp_spec(redis), "--only", "store", "--warmup-rounds", 0, "--num-keys", 50).expect(1)
        stored = succeeded(run, "Store")
        require(0 < stored < 150 and "OOM" in run.stderr, run.stderr)
        require(int(redis.ask("DBSIZE")[1:]) == stored, "the server holds another number of keys than was reported")
        return f"{stored} of 150 stored, as many as the server holds; {run.stderr.splitlines()[0].split(': ', 2)[2]}"


def read_only(program: str, scratch: pathlib.Path) -> str:
    with services.Redis(program, scratch / "primary") as primary:
        options = ("--replicaof", f"127.0.0.1 {primary.port}")
        with services.Redis(program, scratch / "replica", None, *options) as replica:
            run = ours(resp_spec(replica), "--only", "store").expect(1)
            require("READONLY" in run.stderr and succeeded(run, "Store") == 0, run.stderr)
            return run.stderr.splitlines()[0].split(": ", 2)[2]


def store_flags(num_keys: int, rounds: int, *more: object) -> tuple[int, list]:
    flags = ["--only", "store", "--num-keys", num_keys, "--rounds", rounds, "--warmup-rounds", 0, *more]
    return num_keys * IN_FLIGHT * rounds, flags


# Small objects for long runs.
LONG = ("--data-size-kb", 4)
LRU = ("--maxmemory", "300mb", "--maxmemory-policy", "allkeys-lru")


def killed_and_back(program: str, scratch: pathlib.Path) -> str:
    """SIGKILL in the middle of large values; the server comes back empty and the run goes on."""
    with services.Redis(program, scratch / "server", None, *LRU) as redis:

        def kill(benchmark: Benchmark) -> None:
            wait_until(lambda: held(redis) >= 500, "500 keys")
            redis.stop(kill=True)
            benchmark.works()
            with benchmark.held():
                redis.start()

        planned, flags = store_flags(500, 40)
        run = while_running(kill, resp_spec(redis), flags).expect(1)
        stored, after = succeeded(run, "Store"), writes_of(redis)
        require(after > 0, "nothing was stored after the server came back")
        require(after < stored < planned and f"127.0.0.1:{redis.port}" in run.stderr, f"{after}, {stored}: {run.stderr}")
        return f"{stored} of {planned} stored, {after} of them after it came back; {first_failure(run)}"


def refused_for_a_while(program: str, scratch: pathlib.Path) -> str:
    """The server ends in mid-phase, its port refuses connections for a while, and it comes back empty."""
    with services.Redis(program, scratch / "server", None, *LRU) as redis:

        def stop_for_a_while(benchmark: Benchmark) -> None:
            wait_until(lambda: held(redis) >= 500, "500 keys")
            redis.stop()
            require(refuses(redis.port), "the port is still open")
            benchmark.works(10 * FAULT_CPU_S)
            with benchmark.held():
                redis.start()

        planned, flags = store_flags(500, 100, *LONG)
        run = while_running(stop_for_a_while, resp_spec(redis), flags).expect(1)
        stored, after = succeeded(run, "Store"), writes_of(redis)
        require(0 < after < stored < planned, f"{after} of {stored} of {planned}")
        require("Connection refused" in run.stderr and f"127.0.0.1:{redis.port}" in run.stderr, run.stderr)
        refused = next(line for line in run.stderr.splitlines() if "Connection refused" in line)
        return f"{planned - stored} of {planned} failed, {after} stored after it came back; {refused.split(': ', 2)[2]}"


def refuses(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return False
    return True


def silent_for_a_while(program: str, scratch: pathlib.Path) -> str:
    """SIGSTOP in mid-phase, longer than a request may take, and SIGCONT. Each connection loses one key per time-out."""
    timeout_s = 0.5
    with services.Redis(program, scratch / "server", None, *LRU) as redis:
        silence_s = []

        def silence(benchmark: Benchmark) -> None:
            wait_until(lambda: held(redis) >= 500, "500 keys")
            began = time.monotonic()
            redis.process.send_signal(signal.SIGSTOP)
            try:
                time.sleep(3 * timeout_s)
                benchmark.running()
            finally:
                redis.process.send_signal(signal.SIGCONT)
            silence_s.append(time.monotonic() - began)
            before = writes_of(redis)
            wait_until(lambda: writes_of(redis) > before, "stores after the silence")

        planned, flags = store_flags(500, 60, *LONG)
        spec = resp_spec(redis, request_timeout=timeout_s, connection_timeout=timeout_s)
        run = while_running(silence, spec, flags).expect(1)
        failed = planned - succeeded(run, "Store")
        require("no answer in time" in run.stderr and "request_timeout" in run.stderr, run.stderr)
        most = spec["num_workers"] * (silence_s[0] / timeout_s + 1)
        require(0 < failed <= most, f"{failed} of {planned} failed in {silence_s[0]:.1f} s, at most {most:.0f} were due")
        return f"{failed} of {planned} failed in {silence_s[0]:.1f} s of silence; {first_failure(run)}"


def failover(program: str, scratch: pathlib.Path) -> str:
    """A primary is killed in mid-phase; its replica takes its slots over and the same run goes on with it."""
    options = ("--repl-diskless-sync-delay", 0, *LRU)
    with services.cluster(program, scratch / "cluster", *options, nodes=6, replicas=1, timeout_ms=2000) as members:
        primaries = [member for member in members if b"role:master" in member.ask("INFO", "replication")]
        require(len(primaries) == 3, f"{len(primaries)} primaries instead of 3")
        lost = primaries[2]
        replicas = [member for member in members if member not in primaries]
        linked = b"master_link_status:up"
        wait_until(lambda: all(linked in one.ask("INFO", "replication") for one in replicas), "replicas in step")
        promoted = []

        def took_over() -> bool:
            promoted[:] = [one for one in replicas if b"role:master" in one.ask("INFO", "replication")]
            return bool(promoted)

        def kill(benchmark: Benchmark) -> None:
            wait_until(lambda: held(lost) >= 500, "500 keys")
            lost.stop(kill=True)
            benchmark.works(20 * FAULT_CPU_S)
            with benchmark.held():
                wait_until(took_over, "a replica that takes over")
                promoted.append(writes_of(promoted[0]))

        planned, flags = store_flags(500, 150, *LONG)
        spec = valkey_spec(primaries[0], cluster_mode=True, request_timeout=5, connection_timeout=5)
        run = while_running(kill, spec, flags).expect(1)
        stored = succeeded(run, "Store")
        replica, before = promoted
        after = writes_of(replica) - before
        require(after > 100, f"the replica that took over was sent {after} stores")
        require(0 < stored < planned, f"{stored} of {planned}")
        repeated = [one for one in run.metrics["warnings"] if one["code"] == "requests-repeated"]
        require(repeated, "nothing says that requests were repeated")
        return (
            f"{planned - stored} of {planned} failed, {after} were stored on the replica that took over; "
            f"{first_failure(run)}"
        )


def writes_of(redis: services.Redis) -> int:
    """SET commands that it executed."""
    for line in redis.ask("INFO", "commandstats").split(b"\r\n"):
        if line.startswith(b"cmdstat_set:"):
            return int(line.split(b"calls=")[1].split(b",")[0])
    return 0


# ---- S3 -----------------------------------------------------------------------------------------------------------


def s3_killed_and_back(_: pathlib.Path, scratch: pathlib.Path) -> str:
    """nginx and its worker are killed in mid-phase; the port refuses connections for a while; the objects stay."""
    with services.nginx(scratch) as server:
        data = scratch / "data"

        def objects() -> int:
            return sum(1 for _ in data.iterdir())

        def kill(benchmark: Benchmark) -> None:
            wait_until(lambda: objects() >= 200, "200 objects")
            server.stop()
            benchmark.works(10 * FAULT_CPU_S)
            with benchmark.held():
                before.append(objects())
                server.start()

        before = []
        planned, flags = store_flags(200, 100, *LONG)
        run = while_running(kill, s3_spec(server), flags).expect(1)
        stored = succeeded(run, "Store")
        require(before[0] < stored < planned, f"{before[0]} of {stored} of {planned}")
        require(objects() >= stored, f"{objects()} objects, but {stored} were reported as stored")
        require(f"127.0.0.1:{server.port}" in run.stderr, run.stderr)
        return f"{stored} of {planned} stored, {objects()} objects are there; {first_failure(run)}"


def s3_overloaded(_: pathlib.Path, scratch: pathlib.Path) -> str:
    """nginx takes five requests a second on each connection and answers the others with 503 and Retry-After. By then the
    connection's own bucket is empty again, so the second attempt always passes."""
    limit = (
        "limit_req_zone $connection zone=each:1m rate=5r/s; limit_req zone=each burst=1 nodelay; limit_req_status 503;"
        "add_header Retry-After 1 always;"
    )
    with services.nginx(scratch, http=limit) as server:
        run = ours(s3_spec(server), "--only", "store", *LONG).expect(0)
        repeated = [one for one in run.metrics["warnings"] if one["code"] == "requests-repeated"]
        require(repeated and "503" in repeated[0]["text"], f"{run.metrics['warnings']}")
        return f"{succeeded(run, 'Store')} stored in spite of it; {repeated[0]['text']}"
