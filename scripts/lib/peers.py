"""The real programs that are checked and measured against: what scripts/peers/peers.sh installs."""

import functools
import os
import pathlib
import subprocess

from lib.native import SCRIPTS

# These need more than package indexes: NIXL's headers from its repository, a package source of Google's.
NOT_ALWAYS_THERE = ("nixl-native", "bigtable")


def peers_folder() -> pathlib.Path:
    """Where peers.sh installs, by its rule."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(os.environ.get("LMCACHE_BENCH_PEERS") or f"{cache}/lmcache-bench/peers").expanduser()


class Skip(Exception):
    """What is missing here for a check."""


@functools.cache
def peer(target: str, *arguments: str) -> str:
    """The last line that peers.sh prints: the path of what it installed."""
    command = [SCRIPTS / "peers/peers.sh", target, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return done.stdout.strip().splitlines()[-1]
    reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1].removeprefix("peers: ")
    if os.environ.get("MUST_RUN") == "1" and target not in NOT_ALWAYS_THERE:
        raise RuntimeError(f"MUST_RUN=1 and the peer `{target}` is missing: {reason}")
    raise Skip(f"the peer `{target}` is missing: {reason}")


def lmcache_environment() -> pathlib.Path:
    return pathlib.Path(peer("lmcache"))
