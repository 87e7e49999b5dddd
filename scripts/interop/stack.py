"""Real servers as child processes: started in a process group of their own, awaited, and always ended. Nothing here knows
what is checked."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

STOP_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url: str, timeout: float = 10) -> str:
    with urllib.request.urlopen(url, timeout=timeout) as reply:
        return reply.read().decode()


def post(url: str, body: dict, timeout: float = 60) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return json.load(reply)


def counters(url: str, prefix: str) -> dict[str, float]:
    """The samples of a Prometheus page whose names begin with `prefix`, labels included."""
    samples = {}
    for line in get(url).splitlines():
        if line.startswith(prefix):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    return samples


class Server:
    """A server and everything it starts. Its output goes to a file, which is shown when it does not get ready."""

    def __init__(self, name: str, command: list[str], url: str, ready_path: str, folder: pathlib.Path, env: dict) -> None:
        self.name, self.command, self.url, self.ready_url = name, command, url, url + ready_path
        self.folder, self.log, self.env = folder, folder / f"{name}.log", {**os.environ, **env}
        self.process: subprocess.Popen | None = None

    def start(self, seconds: float) -> "Server":
        began = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=self.env,
                start_new_session=True,
            )
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError):
                get(self.ready_url, timeout=2)
                print(f"{self.name}: ready after {time.monotonic() - began:.0f} s", flush=True)
                return self
            if self.process.poll() is not None or time.monotonic() - began > seconds:
                tail = self.log.read_text(errors="replace").splitlines()[-15:]
                code = self.process.poll()
                self.stop()
                raise RuntimeError(f"{self.name} is not ready (exit status {code}):\n" + "\n".join(tail))
            time.sleep(0.5)

    def stop(self) -> None:
        """Asks the server to end, waits, and ends what is left of its group."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        # The group's number is still ours: members that are left keep it, and an empty group is no error.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Checks:
    """Counts what held and what did not, by name."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def equal(self, name: str, seen: object, expected: object) -> None:
        self.that(name, seen == expected, f"got {seen!r}, expected {expected!r}")

    def that(self, name: str, holds: bool, otherwise: object = "") -> None:
        if holds:
            self.passed += 1
            print(f"ok      {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED  {name}: {otherwise}", flush=True)

    def end(self) -> int:
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return int(self.failed > 0)
