"""Proves that our `resp`, `valkey` and `s3` adapters and LMCache's share one format on real servers, in both directions, and that real
faults are reported. Run by scripts/interop/network.sh inside LMCache's environment."""

import pathlib
import subprocess
import sys
import threading

from interop import network_faults as faults
from interop.network_specs import IN_FLIGHT, KEYS, NUM_KEYS, ROUNDS, SIZE_KIB, ours, resp_spec, s3_spec, succeeded, valkey_spec
from lib import checks, native, reference, services
from lib.checks import require
from lib.peers import peer
from lib.servers import Server

PASSWORD = "interop-password"


def round_trip(spec: dict, *flags: object) -> native.Run:
    """Store, lookup, load and verify by us alone."""
    run = ours(spec, "--no-skip-verify", "--lookup-max-hit-rate", "1", *flags).expect(0)
    require(run.metrics["verify"]["good"] == KEYS, f"{run.metrics['verify']}")
    require(succeeded(run, "Lookup") == KEYS, "lookups miss keys that were stored")
    return run


def both_ways(spec: dict, theirs_spec: dict, wipe, model: str = "bench-model") -> str:
    """We store, LMCache finds and loads; everything is wiped; LMCache stores what it loaded; we find, load and verify. Our
    verification reads a stamp in every 4 KiB, so it also proves that LMCache loaded the right bytes before."""
    ours(spec, "--only", "store").expect(0)
    payloads = []
    theirs = reference.Reference(theirs_spec, NUM_KEYS, IN_FLIGHT, SIZE_KIB * 1024, 4096)
    try:
        for index in range(ROUNDS):
            keys = theirs.keys(index, model)
            require(all(theirs.lookup(keys)), f"LMCache's lookup misses keys of round {index}")
            hits, loaded = theirs.load(keys)
            require(all(hits), f"LMCache's load misses keys of round {index}")
            payloads.append(loaded)
        require(not any(theirs.lookup(theirs.keys(ROUNDS, model))), "LMCache finds keys that nobody stored")
        wipe()
        empty = ours(spec, "--only", "load").expect(1)
        require(succeeded(empty, "Load") == 0, "something is left after wiping")
        for index in range(ROUNDS):
            theirs.store(theirs.keys(index, model), payloads[index])
    finally:
        theirs.close()
    load = ours(spec, "--only", "load", "--no-skip-verify").expect(0)
    require(load.metrics["verify"]["good"] == KEYS, f"{load.metrics['verify']}")
    lookup = ours(spec, "--only", "lookup", "--lookup-max-hit-rate", "1").expect(0)
    require(succeeded(lookup, "Lookup") == KEYS, "we do not find what LMCache stored")
    return f"{KEYS * ROUNDS} objects each way, found, loaded and verified"


# ---- Redis and Valkey: each check gets the server program and a fresh directory -----------------------------------


def resp_plain(program: str, scratch: pathlib.Path) -> str:
    with services.Redis(program, scratch / "server") as redis:
        spec = resp_spec(redis)
        return both_ways(spec, spec, lambda: redis.ask("FLUSHALL"))


def resp_password(program: str, scratch: pathlib.Path) -> str:
    with services.Redis(program, scratch / "server", None, "--requirepass", PASSWORD) as redis:
        spec = resp_spec(redis, username="default", password=PASSWORD)
        proof = both_ways(spec, spec, lambda: redis.ask("FLUSHALL", password=PASSWORD))
        wrong = ours({**spec, "password": "wrong-secret"}, "--only", "store").expect(1)
        require("WRONGPASS" in wrong.stderr and "wrong-secret" not in wrong.stderr, wrong.stderr)
        none = ours(resp_spec(redis), "--only", "store").expect(1)
        require("give the password" in none.stderr, none.stderr)
        return f"{proof}; a wrong and a missing password are reported: {wrong.stderr.strip()}"


def resp_pipeline(program: str, scratch: pathlib.Path) -> str:
    with services.Redis(program, scratch / "server") as redis:
        run = round_trip(resp_spec(redis, pipeline=4))
        return f"verified; {run.metrics['detail_0']['io_path']}"


def valkey_plain(program: str, scratch: pathlib.Path) -> str:
    with services.Redis(program, scratch / "server") as redis:
        spec = valkey_spec(redis, key_prefix="prod", ttl_seconds=600, database_id=3)
        proof = both_ways(spec, spec, lambda: redis.ask("FLUSHALL"))
        return f"{proof}, with key_prefix, ttl_seconds and database_id"


def valkey_cluster(program: str, scratch: pathlib.Path) -> str:
    with services.cluster(program, scratch / "cluster") as members:
        spec = valkey_spec(members[0], cluster_mode=True)

        def wipe() -> None:
            for member in members:
                member.ask("FLUSHALL")

        proof = both_ways(spec, spec, wipe)
        sizes = [int(member.ask("DBSIZE")[1:]) for member in members]
        require(all(sizes), f"one node holds nothing: {sizes}")
        return f"{proof}, on three nodes with {sizes} keys"


def valkey_cluster_moves(program: str, scratch: pathlib.Path) -> str:
    """Slots move from node to node while a run goes on: MOVED and ASK from a real cluster."""
    with services.cluster(program, scratch / "cluster") as members:
        spec = valkey_spec(members[0], cluster_mode=True)
        cli = pathlib.Path(program).parent / pathlib.Path(program).name.replace("-server", "-cli")
        ids = [member.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode() for member in members]
        trouble = []

        def reshard(source: str, target: str) -> None:
            command = [cli, "--cluster", "reshard", f"127.0.0.1:{members[0].port}", "--cluster-from", source]
            command += ["--cluster-to", target, "--cluster-slots", 2000, "--cluster-yes"]
            done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
            if done.returncode:
                trouble.append(done.stdout + done.stderr)

        redirected = good = runs = moves = 0
        # A move may be over before a run touches its slots: then they move back.
        while redirected == 0 and moves < 4:
            move = threading.Thread(target=reshard, args=(ids[moves % 2], ids[1 - moves % 2]))
            move.start()
            moves, end = moves + 1, runs + 3
            # At least three runs, and for as long as slots move.
            while runs < end or (move.is_alive() and runs < 200):
                run = ours(spec, "--no-skip-verify", "--num-keys", 40, "--rounds", 10).expect(0)
                runs += 1
                good += run.metrics["verify"]["good"]
                redirected += sum(one["code"] == "requests-repeated" for one in run.metrics.get("warnings", []))
            move.join()
            require(not trouble, "".join(trouble))
        require(redirected > 0, "no run was redirected to another node")
        require(good == runs * 40 * IN_FLIGHT * 10, f"{good} objects are good in {runs} runs")
        return f"{good} objects stored, loaded and verified while 2000 slots moved; {redirected} of {runs} runs were redirected"


def valkey_tls(program: str, scratch: pathlib.Path) -> str:
    ca, certificate, key = services.certificates(scratch / "certificates")
    options = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no")
    with services.Redis(program, scratch / "server", None, *options, "--requirepass", PASSWORD, tls=True) as redis:
        spec = valkey_spec(redis, tls_enable=True, tls_ca_file=str(ca), password=PASSWORD)
        run = round_trip(spec)
        untrusted = ours({**spec, "tls_ca_file": None}, "--only", "store").expect(1)
        require("tls_ca_file" in untrusted.stderr, untrusted.stderr)
        plain = ours({**spec, "tls_enable": False, "connection_timeout": 3}, "--only", "store").expect(1)
        return (
            f"verified: {run.metrics['detail_0']['io_path']}; an unknown authority: {untrusted.stderr.strip()}; "
            f"without TLS: {plain.stderr.strip()}"
        )


# ---- S3: each check gets the folder that peers.sh made and a fresh directory ---------------------------------------


def remove_objects(directory: pathlib.Path):
    def wipe() -> None:
        for path in directory.rglob("*@*"):
            path.unlink()

    return wipe


def s3_signed(installed: pathlib.Path, scratch: pathlib.Path) -> str:
    """LMCache has no path style, but a model name with a slash makes the same request paths."""
    with services.s3s_fs(installed / "bin" / "s3s-fs", scratch) as server:
        spec = s3_spec(server, f"/{services.BUCKET}")
        wipe = remove_objects(scratch / "data" / services.BUCKET)
        model = f"{services.BUCKET}/bench-model"
        return both_ways(spec, s3_spec(server, s3_prefer_http2=False), wipe, model) + " (s3s-fs checks signatures)"


def s3_plain(installed: pathlib.Path, scratch: pathlib.Path) -> str:
    with services.nginx(scratch) as server:
        spec = s3_spec(server)
        return both_ways(spec, s3_spec(server, s3_prefer_http2=False), remove_objects(scratch / "data")) + " (nginx)"


def s3_refusals(installed: pathlib.Path, scratch: pathlib.Path) -> str:
    with services.s3s_fs(installed / "bin" / "s3s-fs", scratch) as server:
        wrong = ours(s3_spec(server, f"/{services.BUCKET}", aws_secret_access_key="wrong-secret"), "--only", "store")
        wrong.expect(1)
        require("403 SignatureDoesNotMatch" in wrong.stderr and "wrong-secret" not in wrong.stderr, wrong.stderr)
        server.stop()
        gone = ours(s3_spec(server, f"/{services.BUCKET}"), "--only", "store").expect(1)
        require("Connection refused" in gone.stderr, gone.stderr)
    with services.moto(installed / "moto" / "bin" / "moto_server", scratch / "moto") as server:
        bucket = ours(s3_spec(server, "/no-such-bucket"), "--only", "store").expect(1)
        require("NoSuchBucket" in bucket.stderr, bucket.stderr)
        return " / ".join(run.stderr.splitlines()[0].split(": ", 2)[-1] for run in (wrong, bucket, gone))


def s3_parts(installed: pathlib.Path, scratch: pathlib.Path) -> str:
    flags = ["--data-size-kb", 20480, "--num-keys", 2, "--in-flight", 1]
    with services.s3s_fs(installed / "bin" / "s3s-fs", scratch / "s3s") as server:
        run = ours(s3_spec(server, f"/{services.BUCKET}"), "--no-skip-verify", *flags).expect(0)
        require(run.metrics["verify"]["good"] == 2, f"{run.metrics['verify']}")
    with services.moto(installed / "moto" / "bin" / "moto_server", scratch / "moto") as server:
        make_bucket(server)
        run = ours(s3_spec(server, f"/{services.BUCKET}"), "--no-skip-verify", *flags).expect(0)
        require(run.metrics["verify"]["good"] == 2, f"{run.metrics['verify']}")
    return "objects of 20 MiB in three parts, stored, loaded and verified on s3s-fs and moto"


def s3_tls(installed: pathlib.Path, scratch: pathlib.Path) -> str:
    ca, certificate, key = services.certificates(scratch / "certificates")
    with services.nginx(scratch / "nginx", certificate, key) as server:
        spec = s3_spec(server, disable_tls=False, tls_ca_file=str(ca))
        run = round_trip(spec)
        untrusted = ours({**spec, "tls_ca_file": None}, "--only", "store").expect(1)
        require("UnknownIssuer" in untrusted.stderr, untrusted.stderr)
        return f"verified: {run.metrics['detail_0']['io_path']}; {untrusted.stderr.strip()}"


def make_bucket(server: Server) -> None:
    import http.client

    scope = f"{services.ACCESS_KEY}/20260101/{services.REGION}/s3/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    link.request("PUT", f"/{services.BUCKET}", headers=headers)
    require(link.getresponse().status == 200, "moto makes no bucket")


def s3_moto(installed: pathlib.Path, scratch: pathlib.Path) -> str:
    with services.moto(installed / "moto" / "bin" / "moto_server", scratch) as server:
        make_bucket(server)
        round_trip(s3_spec(server, f"/{services.BUCKET}"))
        return "stored, found, loaded and verified on moto"


def main() -> None:
    def redis():
        return peer("valkey")

    def s3():
        return pathlib.Path(peer("s3"))

    all_checks = [
        ("resp, both ways", resp_plain, redis),
        ("resp, password, both ways", resp_password, redis),
        ("resp, pipeline", resp_pipeline, redis),
        ("valkey, both ways", valkey_plain, redis),
        ("valkey, cluster, both ways", valkey_cluster, redis),
        ("valkey, cluster whose slots move", valkey_cluster_moves, redis),
        ("valkey, TLS and password", valkey_tls, redis),
        ("valkey, cluster that loses a primary", faults.failover, redis),
        ("resp, out of memory", faults.out_of_memory, redis),
        ("resp, read-only replica", faults.read_only, redis),
        ("resp, killed in mid-phase and back", faults.killed_and_back, redis),
        ("resp, refused for a while in mid-phase", faults.refused_for_a_while, redis),
        ("resp, silent for a while in mid-phase", faults.silent_for_a_while, redis),
        ("s3, signatures, both ways", s3_signed, s3),
        ("s3, nginx, both ways", s3_plain, s3),
        ("s3, TLS", s3_tls, s3),
        ("s3, moto", s3_moto, s3),
        ("s3, refusals", s3_refusals, s3),
        ("s3, killed in mid-phase and back", faults.s3_killed_and_back, s3),
        ("s3, overloaded", faults.s3_overloaded, s3),
        ("s3, large objects", s3_parts, s3),
    ]
    checks.run_all(all_checks, pathlib.Path(sys.argv[1]))


if __name__ == "__main__":
    main()
