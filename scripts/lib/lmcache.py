"""LMCache's own programs: its command line and its cache server, of every release. Standard library only."""

import json
import os
import pathlib

from lib.native import SCRIPTS
from lib.peers import lmcache_environment, peer
from lib.servers import Server, free_ports, get, post

LISTED = [line.split() for line in (SCRIPTS / "peers/lmcache-releases").read_text().splitlines() if not line.startswith("#")]
RELEASES = [release for release, *_ in LISTED]
# The one that the environment holds; the Python files of the others go first on its PYTHONPATH.
(INSTALLED,) = (release for release, *marks in LISTED if "installed" in marks)
NAME = f"LMCache {INSTALLED}"
QUIET = {
    "LMCACHE_DISABLE_BANNER": "1",
    "LMCACHE_LOG_LEVEL": "ERROR",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONWARNINGS": "ignore",
}
# Older releases have no `python -m` entry point.
MAIN = "import sys; from lmcache.cli.main import main; sys.exit(main())"
# Imports from a cold disk beside other programs; a server that ends meanwhile is noticed at once.
START_S = 600


def since(release: str, first: str) -> bool:
    """Whether a release is `first` or a later one."""
    return RELEASES.index(release) >= RELEASES.index(first)


def version_of(release: str) -> str:
    """What the files of a release call themselves: a pre-release while the release is not out."""
    if release == INSTALLED:
        return release
    (info,) = pathlib.Path(peer("lmcache-wheel", release)).glob("lmcache-*.dist-info")
    return info.name.removeprefix("lmcache-").removesuffix(".dist-info")


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
    """`lmcache server` on loopback; `rpc` and `http` are its URLs. Later flags win. With `key` its HTTP API asks for that key."""

    def __init__(self, scratch: pathlib.Path, chunk: int, *flags: object, release: str = INSTALLED, key: str = "") -> None:
        self.release, self.chunk = release, chunk
        self.headers = {"authorization": f"Bearer {key}"} if key else {}
        if key:
            key_file = pathlib.Path(scratch, f"lmcache-{release}.key")
            key_file.write_text(f"{key}\n")
            flags = (*flags, "--api-key-file", key_file)
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
        return json.loads(get(f"{self.http}/status", timeout=60, headers=self.headers))

    def clear(self) -> None:
        post(f"{self.http}/cache/clear", {"force": True})
