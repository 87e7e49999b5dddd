"""Faults of real servers while a run goes on: killed, refused, silent, full, read-only, a lost primary, overloaded. Nothing
may be reported as stored that is not there, and a run goes on when the server is back. Standard library only."""

import contextlib
import pathlib
import signal
import socket
import threading
import time

import native
import servers
from network_specs import IN_FLIGHT, ours, require, resp_spec, s3_spec, succeeded, valkey_spec

PATIENCE_S = 20.0


def first_failure(run: native.Run) -> str:
    return run.stderr.splitlines()[0].split(": ", 2)[2]


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.001)


def held(redis: servers.Redis) -> int:
    return int(redis.ask("DBSIZE")[1:])


def while_running(fault, run) -> native.Run:
    """Runs `fault` beside `run`; what goes wrong in either is told."""
    trouble = []

    def guarded() -> None:
        try:
            fault()
        except Exception as error:  # noqa: BLE001 - told below
            trouble.append(error)

    beside = threading.Thread(target=guarded)
    beside.start()
    try:
        finished = run()
    finally:
        beside.join()
    if trouble:
        raise trouble[0]
    return finished


def out_of_memory(program: str, scratch: pathlib.Path) -> str:
    options = ("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    with servers.Redis(program, scratch / "server", None, *options) as redis:
        run = ours(resp_spec(redis), "--only", "store", "--warmup-rounds", 0, "--num-keys", 50).expect(1)
        stored = succeeded(run, "Store")
        require(0 < stored < 150 and "OOM" in run.stderr, run.stderr)
        require(int(redis.ask("DBSIZE")[1:]) == stored, "the server holds another number of keys than was reported")
        return f"{stored} of 150 stored, as many as the server holds; {run.stderr.splitlines()[0].split(': ', 2)[2]}"


def read_only(program: str, scratch: pathlib.Path) -> str:
    with servers.Redis(program, scratch / "primary") as primary:
        options = ("--replicaof", f"127.0.0.1 {primary.port}")
        with servers.Redis(program, scratch / "replica", None, *options) as replica:
            run = ours(resp_spec(replica), "--only", "store").expect(1)
            require("READONLY" in run.stderr and succeeded(run, "Store") == 0, run.stderr)
            return run.stderr.splitlines()[0].split(": ", 2)[2]


def killed_and_back(program: str, scratch: pathlib.Path) -> str:
    """SIGKILL in mid-phase; the server comes back empty while the run goes on."""
    with servers.Redis(program, scratch / "server") as redis:

        def kill() -> None:
            wait_until(lambda: held(redis) >= 500, "500 keys")
            redis.stop(kill=True)
            redis.start()

        planned, flags = store_flags(100, 60)
        run = while_running(kill, lambda: ours(resp_spec(redis), *flags)).expect(1)
        stored, after = succeeded(run, "Store"), held(redis)
        require(after > 0, "nothing was stored after the server came back")
        require(stored < planned and f"127.0.0.1:{redis.port}" in run.stderr, run.stderr)
        return f"{stored} of {planned} stored, {after} of them after it came back; {first_failure(run)}"


def store_flags(num_keys: int, rounds: int, *more: object) -> tuple[int, list]:
    flags = ["--only", "store", "--num-keys", num_keys, "--rounds", rounds, "--warmup-rounds", 0, *more]
    return num_keys * IN_FLIGHT * rounds, flags


# Long enough for a server to go and come back in the middle, and little enough to keep.
LONG = ("--data-size-kb", 4)
LRU = ("--maxmemory", "300mb", "--maxmemory-policy", "allkeys-lru")


def refused_for_a_while(program: str, scratch: pathlib.Path) -> str:
    """The server ends in mid-phase, its port refuses connections for a while, and it comes back empty."""
    with servers.Redis(program, scratch / "server", None, *LRU) as redis:

        def stop_for_a_while() -> None:
            wait_until(lambda: held(redis) >= 500, "500 keys")
            redis.stop()
            require(refuses(redis.port), "the port is still open")
            time.sleep(0.2)
            redis.start()

        planned, flags = store_flags(500, 100, *LONG)
        run = while_running(stop_for_a_while, lambda: ours(resp_spec(redis), *flags)).expect(1)
        stored, after = succeeded(run, "Store"), held(redis)
        require(0 < after < stored < planned, f"{after} of {stored} of {planned}")
        require("Connection refused" in run.stderr and f"127.0.0.1:{redis.port}" in run.stderr, run.stderr)
        refused = next(line for line in run.stderr.splitlines() if "Connection refused" in line)
        return f"{planned - stored} of {planned} failed, {after} stored after it came back; {refused.split(': ', 2)[2]}"


def refuses(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return False
    return True


def silent_for_a_while(program: str, scratch: pathlib.Path) -> str:
    """SIGSTOP in mid-phase, longer than a request may take, and SIGCONT."""
    with servers.Redis(program, scratch / "server", None, *LRU) as redis:

        def silence() -> None:
            wait_until(lambda: held(redis) >= 500, "500 keys")
            redis.process.send_signal(signal.SIGSTOP)
            time.sleep(1.0)
            redis.process.send_signal(signal.SIGCONT)

        planned, flags = store_flags(500, 60, *LONG)
        spec = resp_spec(redis, request_timeout=0.3, connection_timeout=0.3)
        run = while_running(silence, lambda: ours(spec, *flags)).expect(1)
        stored = succeeded(run, "Store")
        require("no answer in time" in run.stderr and "request_timeout" in run.stderr, run.stderr)
        require(planned - 100 < stored < planned, f"{stored} of {planned}")
        return f"{planned - stored} of {planned} failed; {first_failure(run)}"


def failover(program: str, scratch: pathlib.Path) -> str:
    """A primary is killed in mid-phase; its replica takes its slots over and the same run goes on with it."""
    options = ("--repl-diskless-sync-delay", 0, *LRU)
    with servers.cluster(program, scratch / "cluster", 6, 1, *options) as members:
        primaries = [member for member in members if b"role:master" in member.ask("INFO", "replication")]
        require(len(primaries) == 3, f"{len(primaries)} primaries instead of 3")
        lost = primaries[2]
        replicas = [member for member in members if member not in primaries]
        linked = b"master_link_status:up"
        wait_until(lambda: all(linked in one.ask("INFO", "replication") for one in replicas), "replicas in step")
        promoted = []

        def kill() -> None:
            wait_until(lambda: held(lost) >= 500, "500 keys")
            lost.stop(kill=True)

            def took_over() -> bool:
                promoted[:] = [one for one in replicas if b"role:master" in one.ask("INFO", "replication")]
                return bool(promoted)

            wait_until(took_over, "a replica that takes over")
            promoted.append(writes_of(promoted[0]))

        planned, flags = store_flags(500, 150, *LONG)
        spec = valkey_spec(primaries[0], cluster_mode=True, request_timeout=2, connection_timeout=2)
        run = while_running(kill, lambda: ours(spec, *flags)).expect(1)
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


def writes_of(redis: servers.Redis) -> int:
    """SET commands that it executed."""
    for line in redis.ask("INFO", "commandstats").split(b"\r\n"):
        if line.startswith(b"cmdstat_set:"):
            return int(line.split(b"calls=")[1].split(b",")[0])
    return 0


# ---- S3 -----------------------------------------------------------------------------------------------------------


def s3_killed_and_back(_: pathlib.Path, scratch: pathlib.Path) -> str:
    """nginx and its worker are killed in mid-phase; the port refuses connections for a while; the objects stay."""
    with servers.nginx(scratch) as server:
        data = scratch / "data"

        def objects() -> int:
            return sum(1 for _ in data.iterdir())

        def kill() -> None:
            wait_until(lambda: objects() >= 200, "200 objects")
            server.stop()
            time.sleep(0.2)
            server.start()

        planned, flags = store_flags(200, 100, *LONG)
        run = while_running(kill, lambda: ours(s3_spec(server), *flags)).expect(1)
        stored = succeeded(run, "Store")
        require(0 < stored < planned, f"{stored} of {planned}")
        require(objects() >= stored, f"{objects()} objects, but {stored} were reported as stored")
        require(f"127.0.0.1:{server.port}" in run.stderr, run.stderr)
        return f"{stored} of {planned} stored, {objects()} objects are there; {first_failure(run)}"


def s3_overloaded(_: pathlib.Path, scratch: pathlib.Path) -> str:
    """nginx lets 20 requests a second through and answers the others with 503 and Retry-After."""
    limit = (
        "limit_req_zone $server_port zone=all:1m rate=20r/s; limit_req zone=all burst=4 nodelay; limit_req_status 503;"
        "add_header Retry-After 1 always;"
    )
    with servers.nginx(scratch, http=limit) as server:
        run = ours(s3_spec(server), "--only", "store").expect(0)
        repeated = [one for one in run.metrics["warnings"] if one["code"] == "requests-repeated"]
        require(repeated and "503" in repeated[0]["text"], f"{run.metrics['warnings']}")
        return f"{succeeded(run, 'Store')} stored in spite of it; {repeated[0]['text']}"
