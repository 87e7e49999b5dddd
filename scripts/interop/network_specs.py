"""What the checks of the network adapters share: sizes, specs, our binary's run. Standard library only."""

from interop import fs
from lib import native, services
from lib.servers import Server

NUM_KEYS, IN_FLIGHT, ROUNDS, SIZE_KIB = 5, 3, 2, 64
KEYS = NUM_KEYS * IN_FLIGHT
FLAGS = ["--num-keys", NUM_KEYS, "--in-flight", IN_FLIGHT, "--rounds", ROUNDS - 1, "--warmup-rounds", 1]
FLAGS += ["--data-size-kb", SIZE_KIB, "--seed", 7]
# The default of the valkey adapter, 5 s, is as long as a busy machine may stop.
REQUEST_S = 30


def ours(spec: dict, *flags: object, **more) -> native.Run:
    return native.l2(spec, *FLAGS, *flags, **more)


def succeeded(run: native.Run, operation: str) -> int:
    return fs.operation(run, operation)["total_success"]


def resp_spec(redis: services.Redis, **more: object) -> dict:
    return {"type": "resp", "host": "127.0.0.1", "port": redis.port, "num_workers": 3, **more}


def valkey_spec(*members: services.Redis, **more: object) -> dict:
    nodes = ",".join(f"127.0.0.1:{member.port}" for member in members)
    return {"type": "valkey", "startup_nodes": nodes, "num_workers": 3, "request_timeout": REQUEST_S, **more}


def s3_spec(server: Server, path: str = "", **more: object) -> dict:
    return {
        "type": "s3",
        "s3_endpoint": f"127.0.0.1:{server.port}{path}",
        "s3_region": services.REGION,
        "s3_num_io_threads": 4,
        "disable_tls": True,
        "aws_access_key_id": services.ACCESS_KEY,
        "aws_secret_access_key": services.SECRET_KEY,
        **more,
    }
