"""Our client against real cache servers of LMCache 0.5.0 and later, on CPU, and side by side with the real client.

Each release runs two servers: chunk size 16 with chunks inside of messages, and chunk size 256 with shared memory of the
server. Releases since 0.5.7 run a third one that asks for an API key. The last line is "N passed, N failed".
"""

import contextlib
import os
import pathlib
import re
import sys
import time
import traceback
import types
import uuid

from lib import lmcache, native
from lib.checks import Tally
from lib.lmcache import INSTALLED, RELEASES, CacheServer, since, version_of
from lib.peers import Skip

DTYPES = "float16 bfloat16 float32 uint8 int8".split()
GENERATIONS = {"0.5.0": "0.5.0-0.5.2", "0.5.1": "0.5.0-0.5.2", "0.5.2": "0.5.0-0.5.2", "0.5.3": "0.5.3-0.5.4",
               "0.5.4": "0.5.3-0.5.4", "0.5.5": "0.5.5", "0.5.6": "0.5.6", "0.5.7": "0.5.7"}
DRIVEN = ["--transfer-mode", "lmcache_driven"]
SMALL = ["--num-tokens", 64, "--kvcache-shape-spec", "(2,64,8,2,16):float16:2"]
KEY = f"interop-{uuid.uuid4().hex}"
# A busy machine may stop for seconds.
RUN_S = 300
SETTLE_S = 15
tally = Tally()


def check(name, problem):
    """Counts one check; `problem` is empty when it went well."""
    tally.that(name, not problem, problem)


def ours(server, *flags, sequences=(0, 2), watch=None, key=""):
    """Runs our client, with the key of the server's HTTP API if there is one."""
    first, end = sequences
    environment = {**os.environ, "LMCACHE_API_KEY": key}
    common = ["--mode", "cpu", "--rpc-url", server.rpc, "--url", server.http, "--start", first, "--end", end, "--interval", 0]
    return native.bench("server", *common, *flags, limit_s=RUN_S, watch=watch, env=environment)


def run(name, server, transport, *flags, count=2, key=""):
    """A run that must pass, by this transport, and leave nothing behind."""
    done = ours(server, *flags, sequences=(0, count), key=key)
    report, problem = done.metrics, ""
    if done.code != 0 or not report:
        problem = f"exit code {done.code}: {done.stderr.strip()[-300:]}"
    elif report["results"]["pass_rate"] != 100 or report["verify"]["sequences_passed"] != count:
        problem = f"{report['results']} {report['verify']}"
    elif transport not in report["server"]["transport"]:
        problem = f"went by {report['server']['transport']}"
    elif report["server"]["generation"] != GENERATIONS[server.release]:
        problem = f"taken for {report['server']['generation']}"
    elif report["server"]["release"] != version_of(server.release):
        problem = f"called {report['server']['release']}"
    elif "lmcache" in transport and report["verify"]["server_chunks_compared"] == 0:
        problem = "the server's own checksums were not compared"
    check(f"{server.release} chunk {server.chunk}: {name}", problem or litter(server, done))


def in_turn(server, *turns):
    """Runs with these flags, one right after the other on the same server, leave nothing behind."""
    problem, runs = "", []
    for flags in turns:
        runs.append(ours(server, *flags))
        problem = problem or failure(runs[-1])
    check(f"{server.release} chunk {server.chunk}: {len(turns)} runs in turn", problem or litter(server, *runs))


def litter(server, *runs):
    """What runs left behind, at the server or in shared memory. Servers release locks some milliseconds after a transfer. The last
    look comes after the deadline, however long one takes."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        last = time.monotonic() > deadline
        found = left_now(server, *runs)
        if last or not found:
            return found
        time.sleep(0.02)


def shared_memory_left(*runs):
    """Names of these runs. Other runs on this machine have theirs."""
    mine = tuple(f"lmcache-bench-kv-{run.pid}-" for run in runs)
    return [name for name in os.listdir("/dev/shm") if name.startswith(mine)]


def left_now(server, *runs):
    status = server.status()
    memory = status["storage_manager"]["l1_manager"]
    left = {
        "registrations": len(status.get("registered_gpu_ids", [])) + len(status.get("registered_non_cuda_instance_ids", [])),
        "sessions": status["active_sessions"],
        "lookup jobs": status["active_prefetch_jobs"],
        "read locks": memory["read_locked_count"],
        "write locks": memory["write_locked_count"],
        "shared memory": len(shared_memory_left(*runs)),
    }
    return ", ".join(f"{count} {what} left" for what, count in left.items() if count)


def inline_server(server):
    """Chunk size 16: every element type both ways, layer groups, ranks, libzmq, several clients."""
    server.start()
    plain = "(2,64,8,2,16):{}:2"
    small = ["--num-tokens", "64"]
    for dtype in DTYPES:
        shape = ["--kvcache-shape-spec", plain.format(dtype), *small]
        run(f"auto, {dtype}", server, "inline", *shape)
        run(f"lmcache_driven, {dtype}", server, "lmcache_driven", *DRIVEN, *shape)
    groups = "(2,64,8,2,16):float16:2;(2,64,8,4,16):bfloat16:1"
    run("two groups", server, "lmcache_driven", *DRIVEN, "--kvcache-shape-spec", groups, *small)
    if server.release != "0.5.0":
        mixed = "(1,64,8,1,32):float16:2;(2,64,8,2,16):float16:2"
        run("MLA and K/V groups", server, "lmcache_driven", *DRIVEN, "--kvcache-shape-spec", mixed, *small)
    ranks(server, "inline", "(1,64,8,1,32):bfloat16:2", plain.format("float16"), small)
    run("auto, libzmq", server, "inline", "--wire", "libzmq", *SMALL)
    run("lmcache_driven, libzmq", server, "lmcache_driven", "--wire", "libzmq", *DRIVEN, *SMALL)
    several_clients(server, "inline", SMALL)
    several_clients(server, "lmcache_driven", [*DRIVEN, *SMALL])
    in_turn(server, SMALL, [*DRIVEN, *SMALL], ["--tp-size", 2, *SMALL], [*DRIVEN, "--kvcache-shape-spec", groups, *small])


def shared_memory_server(server):
    """Chunk size 256: every element type through the server's shared memory, ranks, libzmq, several clients."""
    server.start()
    plain = "(2,80,16,2,16):{}:2"
    large = ["--num-tokens", "1024"]
    for dtype in DTYPES:
        run(f"engine_driven, {dtype}", server, "shared memory", "--transfer-mode", "engine_driven", "--kvcache-shape-spec",
            plain.format(dtype), *large)
    half = ["--kvcache-shape-spec", plain.format("float16"), *large]
    run("lmcache_driven, float16", server, "lmcache_driven", *DRIVEN, *half)
    ranks(server, "shared memory", "(1,80,16,1,32):bfloat16:2", plain.format("float16"), large)
    run("engine_driven, libzmq", server, "shared memory", "--wire", "libzmq", *half)
    several_clients(server, "shared memory", half)
    in_turn(server, half, [*DRIVEN, *half], ["--tp-size", 2, *half], [*DRIVEN, "--tp-size", 2, *half])


def several_clients(server, transport, flags):
    """Clients at a time, and blocks in any order, which LMCache's own client has since 0.5.7."""
    if since(server.release, "0.5.7"):
        run(f"{transport}, 3 clients", server, transport, "--concurrency", 3, *flags, count=6)
        run(f"{transport}, random blocks", server, transport, "--block-allocation", "random", *flags)


def locked_server(server):
    """A server that asks for a key over HTTP, where it compares checksums, and for none over ZMQ."""
    server.start()
    name = f"{server.release} with a key"
    run("with its key", server, "lmcache_driven", *DRIVEN, *SMALL, key=KEY)
    for what, key, words in (("without its key", "", "wants an API key"), ("with another key", KEY[:-1], "refused the API key")):
        done = ours(server, *DRIVEN, *SMALL, key=key)
        told = [warning["text"] for warning in done.metrics.get("warnings", []) if warning["code"] == "no-http"]
        problem = failure(done)
        if not problem and not any(words in text and "401" in text for text in told):
            problem = f"told {told}"
        elif not problem and done.metrics["verify"]["server_chunks_compared"]:
            problem = "checksums were compared"
        check(f"{name}, {what}", problem or ("the key is shown" if key and key in done.stdout + done.stderr else litter(server, done)))


def ranks(server, transport, mla, plain, flags):
    two = ["--tp-size", "2", *flags]
    run("MLA, 2 ranks, engine_driven", server, transport, "--use-mla", "--kvcache-shape-spec", mla, *two)
    run("MLA, 2 ranks, lmcache_driven", server, "lmcache_driven", *DRIVEN, "--use-mla", "--kvcache-shape-spec", mla, *two)
    run("K/V, 2 ranks, engine_driven", server, transport, "--kvcache-shape-spec", plain, *two)
    run("K/V, 2 ranks, lmcache_driven", server, "lmcache_driven", *DRIVEN, "--kvcache-shape-spec", plain, *two)


def reference(server, mode, shape, sequences, *flags):
    """What the real client prints in a run over the same sequences."""
    command, environment = lmcache.command(
        server.release, "bench", "server", "--mode", "cpu", "--rpc-url", server.rpc, "--url", server.http,
        "--transfer-mode", mode, "--num-tokens", 64, "--kvcache-shape-spec", shape, "--interval", 0.1,
        "--start", sequences[0], "--end", sequences[1], *flags,
    )  # fmt: skip
    done = native.run(command, env=environment, limit_s=RUN_S)
    return done.stdout + done.stderr


def same_keys(server):
    """Entries of one client are entries of the other when salting is off."""
    for number, mode in enumerate(["engine_driven", "lmcache_driven"]):
        flags = ["--no-salt", "--transfer-mode", mode, *SMALL]
        first = 1000 * (number + 1)
        done = ours(server, *flags, sequences=(first, first + 2))
        text = reference(server, mode, SMALL[-1], (first, first + 2))
        hits = [f"[seq {s}/cold] LOOKUP: 4/4 chunks hit" in text for s in (first, first + 1)]
        problem = failure(done) or ("" if all(hits) else f"the real client missed: {text[:900]}")
        check(f"{server.release} {mode}: the real client finds what ours stored", problem)
        first += 500
        text = reference(server, mode, SMALL[-1], (first, first + 2))
        done = ours(server, *flags, sequences=(first, first + 2))
        earlier = done.metrics.get("verify", {}).get("earlier_entries")
        problem = "" if (done.code, earlier) == (1, 2) else f"exit code {done.code}, {earlier} earlier: {done.stderr} {text[-300:]}"
        check(f"{server.release} {mode}: ours finds what the real client stored, and does not call it a pass", problem)


def failure(done, code=0, words=""):
    """What is wrong with a run that should have ended with this code and these words; empty when nothing is."""
    return "" if done.code == code and words in done.stderr else f"exit code {done.code}: {done.stderr[-300:]}"


def wrong_addresses(server):
    at = lambda rpc, http: types.SimpleNamespace(rpc=rpc, http=http)
    done = ours(at(f"tcp://127.0.0.1:{server.http_port}", ""))
    check(f"{server.release}: an HTTP port as --rpc-url", failure(done, 1, "HTTP server is there"))
    done = ours(at(server.rpc, server.rpc.replace("tcp", "http")), *DRIVEN, *SMALL)
    check(f"{server.release}: a ZMQ port as --url does the server no harm", failure(done))
    check(f"{server.release}: and it still serves", failure(ours(server, *SMALL)))


def grpc_server(scratch, release):
    """A server of the other transport is an error at once, not a time-out."""
    with CacheServer(scratch, 16, "--transport", "grpc", release=release) as server:
        check(f"{release}: a gRPC server", failure(ours(server), 1, "gRPC"))


def killed_server(server):
    """A server that is killed in mid-run ends the run with 1 and a sentence, and nothing of ours is left."""

    objects = lambda: server.status()["storage_manager"]["l1_manager"]["total_object_count"]

    def kill(_):
        before, deadline = objects(), time.monotonic() + RUN_S
        # Four chunks of each sequence.
        while objects() < before + 12 and time.monotonic() < deadline:
            time.sleep(0.02)
        server.stop(kill=True)

    done = ours(server, *DRIVEN, *SMALL, sequences=(0, 1_000_000), watch=kill)
    left = shared_memory_left(done)
    check(f"{server.release}: a server killed in mid-run", failure(done, 1) or ("" if done.stderr and not left else f"left {left}: {done.stderr}"))


@contextlib.contextmanager
def built_in(release, *flags):
    """`mock server` in the place of a real one."""
    with native.mock("server", "--chunk-size", 16, "--release", release, *flags) as (rpc, http):
        yield types.SimpleNamespace(release=release, rpc=rpc, http=http)


def real_client_of(release):
    """The real client of a release passes against our mock server."""
    for transport, flags in (("inline", []), ("shared memory", ["--shm-name", f"interop-{uuid.uuid4().hex[:12]}"])):
        with built_in(release, *flags) as server:
            # Other sequences each time, because the real client fails when it finds what it stored before.
            for first, mode in ((1, "engine_driven"), (11, "lmcache_driven")):
                # The real client before 0.5.6 sends inline stores without chunks.
                if (release, transport, mode) == ("0.5.5", "inline", "engine_driven"):
                    continue
                of_reference(server, transport, mode, (first, first + 2))
            if since(release, "0.5.7"):
                several = ["--concurrency", 2, "--block-allocation", "random"]
                of_reference(server, transport, "engine_driven", (21, 25), *several)


def of_reference(server, transport, mode, sequences, *flags):
    text = reference(server, mode, "(2,64,8,2,16):bfloat16:2", sequences, *flags)
    rate = re.search(r"[Pp]ass rate \(%\):\s+100\.0", text)
    what = " ".join(map(str, (mode, *flags)))
    check(f"real client {server.release} and the built-in server, {transport}, {what}", "" if rate else text[-600:])


def attempt(release, stage, *arguments):
    """What a stage raises is one failure, and the others go on."""
    try:
        stage(*arguments)
    except Skip as reason:
        tally.add("skip", f"release {release}: {reason}")
    except Exception:
        tally.add("FAIL", f"{release}: {stage.__name__.replace('_', ' ')} ended early\n{traceback.format_exc()}")


def launch(scratch, release, servers):
    """All servers of a release start beside each other."""
    servers.append(CacheServer(scratch, 16, "--shm-name", "", release=release).launch())
    servers.append(CacheServer(scratch, 256, "--shm-name", f"interop-{uuid.uuid4().hex[:12]}", release=release).launch())
    if since(release, "0.5.7"):
        servers.append(CacheServer(scratch, 16, "--shm-name", "", release=release, key=KEY).launch())


def main():
    scratch = pathlib.Path(sys.argv[1])
    for release in os.environ.get("SERVER_RELEASES", "").split() or RELEASES:
        servers = []
        try:
            attempt(release, launch, scratch, release, servers)
            for stage, server in zip((inline_server, shared_memory_server, locked_server), servers):
                attempt(release, stage, server)
            if since(release, "0.5.5") and servers:
                attempt(release, real_client_of, release)
            if since(release, INSTALLED) and servers:
                for stage in (same_keys, wrong_addresses, killed_server):
                    attempt(release, stage, servers[0])
                attempt(release, grpc_server, scratch, release)
        finally:
            for server in servers:
                server.stop()
    tally.end()


if __name__ == "__main__":
    main()
