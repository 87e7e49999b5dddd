"""Our client against real cache servers of LMCache 0.5.0 to 0.5.6, on CPU, and side by side with the real client.

Each release runs two servers: chunk size 16 with chunks inside of messages, and chunk size 256 with shared memory of the
server. The last line is "N passed, N failed".
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid

from real_server import RELEASES, Server, lmcache

DTYPES = "float16 bfloat16 float32 uint8 int8".split()
GENERATIONS = {"0.5.0": "0.5.0-0.5.2", "0.5.1": "0.5.0-0.5.2", "0.5.2": "0.5.0-0.5.2", "0.5.3": "0.5.3-0.5.4",
               "0.5.4": "0.5.3-0.5.4", "0.5.5": "0.5.5", "0.5.6": "0.5.6"}
OURS = os.environ["LMCACHE_BENCH_BIN"]
RUN_S = 60
SETTLE_S = 2
passed = failed = 0


def check(name, problem):
    """Counts one check; `problem` is empty when it went well."""
    global passed, failed
    if problem:
        failed += 1
        print(f"FAIL {name}: {problem}", flush=True)
    else:
        passed += 1
        print(f"ok   {name}", flush=True)


def ours(server, *flags, sequences=(0, 2)):
    """Runs our client; its exit code, its report (or nothing) and what it said on standard error."""
    command = [OURS, "server", "--mode", "cpu", "-q", "--format", "json", "--rpc-url", server.rpc, "--url", server.http,
               "--start", str(sequences[0]), "--end", str(sequences[1]), "--interval", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S)
    try:
        return done.returncode, json.loads(done.stdout)["metrics"], done.stderr
    except ValueError:
        return done.returncode, None, done.stderr


def run(name, server, transport, *flags):
    """A run that must pass, by this transport, and leave nothing behind."""
    code, report, said = ours(server, *flags)
    problem = ""
    if code != 0 or report is None:
        problem = f"exit code {code}: {said.strip()[-300:]}"
    elif report["results"]["pass_rate"] != 100 or report["verify"]["sequences_passed"] != 2:
        problem = f"{report['results']} {report['verify']}"
    elif transport not in report["server"]["transport"]:
        problem = f"went by {report['server']['transport']}"
    elif report["server"]["generation"] != GENERATIONS[server.release]:
        problem = f"taken for {report['server']['generation']}"
    elif "lmcache" in transport and report["verify"]["server_chunks_compared"] == 0:
        problem = "the server's own checksums were not compared"
    check(f"{server.release} chunk {server.chunk}: {name}", problem or litter(server))


def litter(server):
    """What a run has left, at the server or in shared memory. Servers release locks some milliseconds after a transfer."""
    deadline = time.monotonic() + SETTLE_S
    while (found := left_now(server)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def left_now(server):
    status = server.status()
    memory = status["storage_manager"]["l1_manager"]
    left = {
        "registrations": len(status.get("registered_gpu_ids", [])) + len(status.get("registered_non_cuda_instance_ids", [])),
        "sessions": status["active_sessions"],
        "lookup jobs": status["active_prefetch_jobs"],
        "read locks": memory["read_locked_count"],
        "write locks": memory["write_locked_count"],
        "shared memory": len([name for name in os.listdir("/dev/shm") if name.startswith("lmcache-bench-kv-")]),
    }
    return ", ".join(f"{count} {what} left" for what, count in left.items() if count)


def inline_server(server):
    """Chunk size 16: every element type both ways, layer groups, ranks."""
    plain = "(2,64,8,2,16):{}:2"
    small = ["--num-tokens", "64"]
    for dtype in DTYPES:
        shape = ["--kvcache-shape-spec", plain.format(dtype), *small]
        run(f"auto, {dtype}", server, "inline", *shape)
        run(f"lmcache_driven, {dtype}", server, "lmcache_driven", "--transfer-mode", "lmcache_driven", *shape)
    groups = "(2,64,8,2,16):float16:2;(2,64,8,4,16):bfloat16:1"
    run("two groups", server, "lmcache_driven", "--transfer-mode", "lmcache_driven", "--kvcache-shape-spec", groups, *small)
    if server.release != "0.5.0":
        mixed = "(1,64,8,1,32):float16:2;(2,64,8,2,16):float16:2"
        run("MLA and K/V groups", server, "lmcache_driven", "--transfer-mode", "lmcache_driven", "--kvcache-shape-spec",
            mixed, *small)
    ranks(server, "inline", "(1,64,8,1,32):bfloat16:2", plain.format("float16"), small)


def shared_memory_server(server):
    """Chunk size 256: every element type through the server's shared memory, ranks."""
    plain = "(2,80,16,2,16):{}:2"
    large = ["--num-tokens", "1024"]
    for dtype in DTYPES:
        run(f"engine_driven, {dtype}", server, "shared memory", "--transfer-mode", "engine_driven", "--kvcache-shape-spec",
            plain.format(dtype), *large)
    run("lmcache_driven, float16", server, "lmcache_driven", "--transfer-mode", "lmcache_driven", "--kvcache-shape-spec",
        plain.format("float16"), *large)
    ranks(server, "shared memory", "(1,80,16,1,32):bfloat16:2", plain.format("float16"), large)


def ranks(server, transport, mla, plain, flags):
    two = ["--tp-size", "2", *flags]
    run("MLA, 2 ranks, engine_driven", server, transport, "--use-mla", "--kvcache-shape-spec", mla, *two)
    run("MLA, 2 ranks, lmcache_driven", server, "lmcache_driven", "--transfer-mode", "lmcache_driven", "--use-mla",
        "--kvcache-shape-spec", mla, *two)
    run("K/V, 2 ranks, engine_driven", server, transport, "--kvcache-shape-spec", plain, *two)
    run("K/V, 2 ranks, lmcache_driven", server, "lmcache_driven", "--transfer-mode", "lmcache_driven",
        "--kvcache-shape-spec", plain, *two)


def reference(server, mode, shape, sequences):
    """What the real client says in a run over the same sequences."""
    command, environment = lmcache(
        server.release, "bench", "server", "--mode", "cpu", "--rpc-url", server.rpc, "--url", server.http,
        "--transfer-mode", mode, "--num-tokens", "64", "--kvcache-shape-spec", shape, "--interval", "0.1",
        "--start", str(sequences[0]), "--end", str(sequences[1]))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def same_keys(server):
    """Entries of one client are entries of the other when salting is off."""
    shape = "(2,64,8,2,16):float16:2"
    flags = ["--no-salt", "--num-tokens", "64", "--kvcache-shape-spec", shape]
    for number, mode in enumerate(["engine_driven", "lmcache_driven"]):
        first = 1000 * (number + 1)
        code, _, said = ours(server, "--transfer-mode", mode, *flags, sequences=(first, first + 2))
        text = reference(server, mode, shape, (first, first + 2))
        hits = [f"[seq {s}/cold] LOOKUP: 4/4 chunks hit" in text for s in (first, first + 1)]
        problem = f"exit code {code}: {said}" if code else "" if all(hits) else f"the real client missed: {text[:900]}"
        check(f"{server.release} {mode}: the real client finds what ours stored", problem)
        first += 500
        text = reference(server, mode, shape, (first, first + 2))
        code, report, said = ours(server, "--transfer-mode", mode, *flags, sequences=(first, first + 2))
        met = report and report["verify"]["earlier_entries"]
        problem = "" if code == 1 and met == 2 else f"exit code {code}, {met} earlier entries: {said} {text[-300:]}"
        check(f"{server.release} {mode}: ours finds what the real client stored, and does not call it a pass", problem)


def wrong_addresses(server):
    code, _, said = ours(type("", (), {"rpc": server.rpc.replace(str(server.port), str(server.http_port)), "http": ""}))
    check("an HTTP port as --rpc-url", "" if code == 1 and "HTTP server is there" in said else f"{code}: {said}")
    code, _, said = ours(type("", (), {"rpc": server.rpc, "http": server.rpc.replace("tcp", "http")}), "--num-tokens", "64",
                         "--transfer-mode", "lmcache_driven", "--kvcache-shape-spec", "(2,64,8,2,16):float16:2")
    check("a ZMQ port as --url does the server no harm", "" if code == 0 else f"exit code {code}: {said}")
    code, _, said = ours(server, "--num-tokens", "64", "--kvcache-shape-spec", "(2,64,8,2,16):float16:2")
    check("and it still serves", "" if code == 0 else f"exit code {code}: {said}")


def grpc_server(scratch):
    """A server of the other transport is named, not waited for."""
    server = Server("0.5.6", scratch, 16, "--transport", "grpc").wait()
    try:
        code, _, said = ours(server)
        check("a gRPC server", "" if code == 1 and "gRPC" in said else f"exit code {code}: {said}")
    finally:
        server.stop()


def killed_server(server):
    """A server that is killed in mid-run ends the run with 1 and a sentence, and nothing of ours is left."""
    command = [OURS, "server", "--mode", "cpu", "--rpc-url", server.rpc, "--url", server.http, "--num-tokens", "64",
               "--transfer-mode", "lmcache_driven", "--kvcache-shape-spec", "(2,64,8,2,16):float16:2", "--interval", "0.01",
               "--end", "100000"]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in client.stdout:
        if line.startswith("[seq=3]"):
            break
    server.stop(signal.SIGKILL)
    try:
        _, said = client.communicate(timeout=RUN_S)
        left = [name for name in os.listdir("/dev/shm") if name.startswith("lmcache-bench-kv-")]
        good = client.returncode == 1 and said and not left
        check("a server killed in mid-run", "" if good else f"exit code {client.returncode}, left {left}: {said[-300:]}")
    except subprocess.TimeoutExpired:
        client.kill()
        check("a server killed in mid-run", "the client hangs")


class BuiltIn:
    """`mock server` in the place of a real one."""

    def __init__(self, release, *flags):
        self.release = release
        command = [OURS, "mock", "server", "--port", "0", "--http-port", "0", "--chunk-size", "16", "--generation", release]
        self.process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True)
        _, _, self.rpc, self.http = self.process.stdout.readline().split()

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)


def real_client_of(release):
    """The real client of a release takes our built-in server for a real one."""
    for way, flags in (("inline", []), ("shared memory", ["--shm-name", f"interop-{uuid.uuid4().hex[:12]}"])):
        server = BuiltIn(release, *flags)
        try:
            # Sequences of their own, because the real client takes what it stored before for a failure.
            for first, mode in ((1, "engine_driven"), (11, "lmcache_driven")):
                # The real client before 0.5.6 sends inline stores without chunks.
                if (release, way, mode) == ("0.5.5", "inline", "engine_driven"):
                    continue
                text = reference(server, mode, "(2,64,8,2,16):bfloat16:2", (first, first + 2))
                rate = re.search(r"Pass rate \(%\):\s+100\.0", text)
                check(f"real client {release} and the built-in server, {way}, {mode}", "" if rate else text[-600:])
        finally:
            server.stop()


def main():
    scratch = sys.argv[1]
    releases = os.environ.get("SERVER_RELEASES", "").split() or RELEASES
    for release in releases:
        name = f"interop-{uuid.uuid4().hex[:12]}"
        servers = [Server(release, scratch, 16, "--shm-name", ""), Server(release, scratch, 256, "--shm-name", name)]
        try:
            inline_server(servers[0].wait())
            shared_memory_server(servers[1].wait())
            if release in ("0.5.5", "0.5.6"):
                real_client_of(release)
            if release == "0.5.6":
                same_keys(servers[0])
                wrong_addresses(servers[0])
                killed_server(servers[0])
                grpc_server(scratch)
        finally:
            for server in servers:
                server.stop()
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
