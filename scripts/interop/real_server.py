"""Real `lmcache server` processes and the real client, each release from its own files."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

RELEASES = "0.5.0 0.5.1 0.5.2 0.5.3 0.5.4 0.5.5 0.5.6".split()
# Older releases have no `python -m` entry point.
MAIN = "import sys; from lmcache.cli.main import main; sys.exit(main())"
START_S = 120
PEERS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(sys.executable))))


def lmcache(release, *words):
    """Command and environment of `lmcache` in one release."""
    environment = dict(os.environ, LMCACHE_DISABLE_BANNER="1", LMCACHE_LOG_LEVEL="WARNING", PYTHONDONTWRITEBYTECODE="1")
    environment.pop("PYTHONPATH", None)
    if release != "0.5.6":
        environment["PYTHONPATH"] = f"{os.path.join(PEERS, f'lmcache-wheel-{release}')}"
    return [sys.executable, "-W", "ignore", "-c", MAIN, *words], environment


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server process; `wait` until it answers, `stop` when done."""

    def __init__(self, release, scratch, chunk, *flags):
        self.release, self.chunk = release, chunk
        self.port, self.http_port = free_port(), free_port()
        self.rpc, self.http = f"tcp://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.http_port}"
        self.log = os.path.join(scratch, f"server-{release}-{self.port}.log")
        command, environment = lmcache(
            release, "server", "--host", "127.0.0.1", "--port", str(self.port), "--http-host", "127.0.0.1",
            "--http-port", str(self.http_port), "--l1-size-gb", "1", "--eviction-policy", "LRU",
            "--supported-transfer-mode", "auto", "--chunk-size", str(chunk), *flags)
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def wait(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.http}/healthcheck", timeout=2).read()
                return self
            except OSError:
                time.sleep(0.2)
        with open(self.log) as log:
            raise SystemExit(f"server {self.release} did not start:\n{log.read()[-2000:]}")

    def status(self):
        import json
        return json.load(urllib.request.urlopen(f"{self.http}/status", timeout=5))

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
