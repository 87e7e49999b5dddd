"""Servers as child processes on loopback: started in a process group of their own, awaited, and always ended. Standard library
only."""

import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time
import urllib.request

# Servers that end while they start are noticed at once; a busy machine may take long.
READY_S = 300.0
STOP_S = 30.0
RETRY_S = 0.02


BUS_ABOVE = 10_000
# Port -> the socket that holds it for as long as this process lives.
HELD: dict[int, socket.socket] = {}


def hold(*ports: int) -> bool:
    """Takes ports that nobody has; all of them or none. They are bound and not listened on: a server, which sets SO_REUSEADDR
    before it binds, gets them then and again after a restart. Any other program that looks for a free port does not."""
    probes = {}
    for port in ports:
        probes[port] = socket.socket()
        try:
            probes[port].bind(("127.0.0.1", port))
        except OSError:
            for probe in probes.values():
                probe.close()
            return False
    for probe in probes.values():
        # After the bind, so that two processes cannot hold the same port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    HELD.update(probes)
    return True


def free_ports(count: int, with_bus: bool = False) -> list[int]:
    """Ports that nobody else gets while this process lives; for cluster nodes the bus port too, 10000 above. They are below the
    ports that the kernel gives to clients, one of which a client could take while its server is down."""
    first_of_clients = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    above = BUS_ABOVE if with_bus else 0
    end = (first_of_clients if first_of_clients > 15_000 + above else 32_000) - above
    found = []
    for port in random.sample(range(end - 10_000, end), 1000):
        if hold(port, *([port + above] if with_bus else [])):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} free ports below {end}")


def get(url: str, timeout: float = 10, headers: dict | None = None) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=timeout) as reply:
        return reply.read().decode()


def post(url: str, body: dict, timeout: float = 60) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return json.loads(reply.read() or b"null")


class Server:
    """One process. It is ready when `ready` answers: a port that takes connections, or a URL. Its output goes to `log`, whose end
    is shown when it does not get ready."""

    def __init__(self, command: list, ready: int | str, log: pathlib.Path, ready_s: float = READY_S, **options) -> None:
        self.command, self.ready, self.log = [str(word) for word in command], ready, pathlib.Path(log)
        self.ready_s, self.options = ready_s, options
        self.process: subprocess.Popen | None = None

    @property
    def port(self) -> int:
        return self.ready

    def launch(self) -> "Server":
        """Starts it and does not wait."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self.options
            )
        return self

    def wait_for(self, ready: int | str) -> None:
        deadline = time.monotonic() + self.ready_s
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if isinstance(ready, str):
                    get(ready, timeout=10)
                else:
                    socket.create_connection(("127.0.0.1", ready), 10).close()
                return
            # Returns at once when the process ends.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(RETRY_S)
        code = self.process.poll()
        self.stop(kill=True)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{self.command[0]} is not ready (exit status {code}):\n{tail}")

    def start(self) -> "Server":
        if self.process is None:
            self.launch()
        self.wait_for(self.ready)
        return self

    def stop(self, kill: bool = False) -> None:
        """Asks it to end, or kills it, waits, and kills what is left of its group."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        # The group's number is still ours: members that are left keep it, and an empty group is no error.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def cpu_s(self) -> float:
        """CPU seconds of its threads and of its children's, by the scheduler's own count."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        nanoseconds = 0
        for process in [str(self.process.pid), *children]:
            for thread in pathlib.Path(f"/proc/{process}/task").iterdir():
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
