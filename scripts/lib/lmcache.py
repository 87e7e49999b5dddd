"""LMCache's own programs: its command line and its cache server, of every release. Standard library only."""

import json
import os
import pathlib

from lib.peers import lmcache_environment, peer
from lib.servers import Server, free_ports, get, post

RELEASES = "0.5.0 0.5.1 0.5.2 0.5.3 0.5.4 0.5.5 0.5.6".split()
INSTALLED = RELEASES[-1]
QUIET = {
    "LMCACHE_DISABLE_BANNER": "1",
    "LMCACHE_LOG_LEVEL": "ERROR",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONWARNINGS": "ignore",
}
# Older releases have no `python -m` entry point.
MAIN = "import sys; from lmcache.cli.main import main; sys.exit(main())"
START_S = 120


def command(release: str, *words: object) -> tuple[list, dict]:
    """Command and environment of `lmcache` in one release."""
    environment = {**os.environ, **QUIET}
    environment.pop("PYTHONPATH", None)
    if release != INSTALLED:
        environment["PYTHONPATH"] = peer("lmcache-wheel", release)
    return [lmcache_environment() / "bin/python", "-c", MAIN, *words], environment


def with_library(environment: dict | None = None) -> dict:
    """The environment in which LMCache's Python finds this package."""
    return {**os.environ, **QUIET, "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[1]), **(environment or {})}


class CacheServer(Server):
    """`lmcache server` on loopback; `rpc` and `http` are its URLs. Later flags win."""

    def __init__(self, scratch: pathlib.Path, chunk: int, *flags: object, release: str = INSTALLED) -> None:
        self.release, self.chunk = release, chunk
        self.rpc_port, self.http_port = free_ports(2)
        self.rpc, self.http = f"tcp://127.0.0.1:{self.rpc_port}", f"http://127.0.0.1:{self.http_port}"
        words, environment = command(
            release, "server", "--host", "127.0.0.1", "--port", self.rpc_port, "--http-host", "127.0.0.1",
            "--http-port", self.http_port, "--l1-size-gb", 1, "--eviction-policy", "LRU",
            "--supported-transfer-mode", "auto", "--chunk-size", chunk, *flags,
        )  # fmt: skip
        log = pathlib.Path(scratch, f"lmcache-{release}-{self.rpc_port}.log")
        super().__init__(words, f"{self.http}/healthcheck", log, START_S, env=environment)

    @property
    def urls(self) -> list[str]:
        return ["--rpc-url", self.rpc, "--url", self.http]

    def status(self) -> dict:
        return json.loads(get(f"{self.http}/status", timeout=5))

    def clear(self) -> None:
        post(f"{self.http}/cache/clear", {"force": True})
