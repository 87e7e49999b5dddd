"""Faults of real servers during a run: killed, refusing, silent, full, read-only, a lost primary, overloaded. The checks compare
what a run reports as stored with what the server holds, and that a run goes on when the server is back. Standard library only."""

import contextlib
import functools
import os
import pathlib
import signal
import socket
import threading
import time

from interop.network_specs import IN_FLIGHT, ours, resp_spec, s3_spec, succeeded, valkey_spec
from lib import native, services
from lib.checks import require

WAIT_S = 120.0
# CPU time of the benchmark in which some hundred of its requests fail, on any machine.
FAULT_CPU_S = 0.02


def first_failure(run: native.Run) -> str:
    return run.stderr.splitlines()[0].split(": ", 2)[2]


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {WAIT_S:.0f} s for {what}")
        time.sleep(0.01)


class TooShort(Exception):
    """The run was over before its fault was, which proves nothing."""


OVER = "the run was over before the fault was"


@contextlib.contextmanager
def over_is_too_short():
    """What is not there any more has ended and was waited for by the other thread."""
    try:
        yield
    except (ChildProcessError, ProcessLookupError, FileNotFoundError) as error:
        raise TooShort(OVER) from error


def long_enough(check):
    """A check that is repeated with twice the rounds while its run is too short; on a busy machine the fault takes long."""

    @functools.wraps(check)
    def repeated(program, scratch: pathlib.Path) -> str:
        for factor in (1, 2, 4, 8):
            try:
                return check(program, scratch / str(factor), factor)
            except TooShort as error:
                last = error
        raise AssertionError(f"also with {factor} times the rounds: {last}")

    return repeated


def held(redis: services.Redis) -> int:
    return int(redis.ask("DBSIZE")[1:])


class Benchmark:
    """The running benchmark, as the thread that makes the fault sees it. Its progress decides when a fault begins and ends, and it
    is stopped while a server starts, so that the speed of the machine does not change the result of a check."""

    def __init__(self, pid: int):
        self.pid = pid

    def running(self) -> None:
        with over_is_too_short():
            over = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if over is not None:
            raise TooShort(OVER)

    def cpu_s(self) -> float:
        """Also of threads that have ended."""
        with over_is_too_short():
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
        with over_is_too_short():
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


@long_enough
def killed_and_back(program: str, scratch: pathlib.Path, factor: int) -> str:
    """SIGKILL in the middle of large values; the server comes back empty and the run goes on."""
    with services.Redis(program, scratch / "server", None, *LRU) as redis:

        def kill(benchmark: Benchmark) -> None:
            wait_until(lambda: held(redis) >= 500, "500 keys")
            redis.stop(kill=True)
            benchmark.works()
            with benchmark.held():
                redis.start()

        planned, flags = store_flags(500, 40 * factor)
        run = while_running(kill, resp_spec(redis), flags).expect(1)
        stored, after = succeeded(run, "Store"), writes_of(redis)
        if after == 0:
            raise TooShort("nothing was stored after the server came back")
        require(after < stored < planned and f"127.0.0.1:{redis.port}" in run.stderr, f"{after}, {stored}: {run.stderr}")
        return f"{stored} of {planned} stored, {after} of them after it came back; {first_failure(run)}"


@long_enough
def refused_for_a_while(program: str, scratch: pathlib.Path, factor: int) -> str:
    """The server ends in mid-phase, its port refuses connections for a while, and it comes back empty."""
    with services.Redis(program, scratch / "server", None, *LRU) as redis:

        def stop_for_a_while(benchmark: Benchmark) -> None:
            wait_until(lambda: held(redis) >= 500, "500 keys")
            redis.stop()
            require(refuses(redis.port), "the port is still open")
            benchmark.works(10 * FAULT_CPU_S)
            with benchmark.held():
                redis.start()

        planned, flags = store_flags(500, 100 * factor, *LONG)
        run = while_running(stop_for_a_while, resp_spec(redis), flags).expect(1)
        stored, after = succeeded(run, "Store"), writes_of(redis)
        if after == 0:
            raise TooShort("nothing was stored after the server came back")
        require(after < stored < planned, f"{after} of {stored} of {planned}")
        require("Connection refused" in run.stderr and f"127.0.0.1:{redis.port}" in run.stderr, run.stderr)
        refused = next(line for line in run.stderr.splitlines() if "Connection refused" in line)
        return f"{planned - stored} of {planned} failed, {after} stored after it came back; {refused.split(': ', 2)[2]}"


def refuses(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return False
    return True


@long_enough
def silent_for_a_while(program: str, scratch: pathlib.Path, factor: int) -> str:
    """SIGSTOP in mid-phase, longer than a request may take, and SIGCONT. Each connection loses one key per time-out, which is longer
    than a busy machine stops."""
    timeout_s = 6
    with services.Redis(program, scratch / "server", None, *LRU) as redis:
        silence_s = []

        def silence(benchmark: Benchmark) -> None:
            wait_until(lambda: held(redis) >= 500, "500 keys")
            with benchmark.held():
                began = time.monotonic()
                redis.process.send_signal(signal.SIGSTOP)
            try:
                time.sleep(2.5 * timeout_s)
                with benchmark.held():
                    redis.process.send_signal(signal.SIGCONT)
                    before = writes_of(redis)
                silence_s.append(time.monotonic() - began)
            finally:
                redis.process.send_signal(signal.SIGCONT)
            wait_until(lambda: writes_of(redis) > before, "stores after the silence")

        planned, flags = store_flags(500, 60 * factor, *LONG)
        spec = resp_spec(redis, request_timeout=timeout_s, connection_timeout=timeout_s)
        run = while_running(silence, spec, flags).expect(1)
        failed = planned - succeeded(run, "Store")
        require("no answer in time" in run.stderr and "request_timeout" in run.stderr, run.stderr)
        most = spec["num_workers"] * (silence_s[0] / timeout_s + 1)
        require(0 < failed <= most, f"{failed} of {planned} failed in {silence_s[0]:.1f} s, at most {most:.0f} were due")
        return f"{failed} of {planned} failed in {silence_s[0]:.1f} s of silence; {first_failure(run)}"


def replication(member: services.Redis) -> dict[str, str]:
    lines = member.ask("INFO", "replication").decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def is_primary(member: services.Redis) -> bool:
    return replication(member)["role"] == "master"


def replica_of(primary: services.Redis, members: list[services.Redis]) -> services.Redis:
    """Its one replica, in step with it."""
    for member in members:
        about = replication(member)
        if about.get("master_port") == str(primary.port):
            wait_until(lambda: replication(member).get("master_link_status") == "up", "a replica in step")
            return member
    raise AssertionError("the primary has no replica")


@long_enough
def failover(program: str, scratch: pathlib.Path, factor: int) -> str:
    """A primary is killed in mid-phase; its replica takes its slots over and the same run goes on with it. A node may stop for
    some seconds without being taken for lost, and a replica takes over whatever the age of its copy."""
    options = ("--repl-diskless-sync-delay", 0, "--cluster-replica-validity-factor", 0, *LRU)
    with services.cluster(program, scratch / "cluster", *options, nodes=6, replicas=1, timeout_ms=6000) as members:
        primaries = [member for member in members if is_primary(member)]
        require(len(primaries) == 3, f"{len(primaries)} primaries instead of 3")
        lost = primaries[2]
        replica = replica_of(lost, members)
        before = []

        def kill(benchmark: Benchmark) -> None:
            wait_until(lambda: held(lost) >= 500, "500 keys")
            require(is_primary(lost) and replica_of(lost, members) is replica, "another node took over before the kill")
            lost.stop(kill=True)
            benchmark.works(20 * FAULT_CPU_S)
            with benchmark.held():
                wait_until(lambda: is_primary(replica), "the replica to take over")
                left = [member for member in members if member is not lost]
                wait_until(lambda: all(services.cluster_is_ok(member) for member in left), "all slots to be served")
                before.append(writes_of(replica))

        planned, flags = store_flags(500, 150 * factor, *LONG)
        spec = valkey_spec(primaries[0], cluster_mode=True, connection_timeout=30)
        run = while_running(kill, spec, flags).expect(1)
        stored = succeeded(run, "Store")
        after = writes_of(replica) - before[0]
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


@long_enough
def s3_killed_and_back(_: pathlib.Path, scratch: pathlib.Path, factor: int) -> str:
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
        planned, flags = store_flags(200, 100 * factor, *LONG)
        run = while_running(kill, s3_spec(server), flags).expect(1)
        stored = succeeded(run, "Store")
        if objects() == before[0]:
            raise TooShort("nothing was stored after the server came back")
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
