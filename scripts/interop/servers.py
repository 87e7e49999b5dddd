"""Starts real servers on loopback ports of their own and stops them by pid. Standard library only."""

import contextlib
import os
import pathlib
import random
import shutil
import socket
import subprocess
import time

READY_S = 60.0
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ACCESS_KEY, SECRET_KEY, REGION, BUCKET = "interop-access", "interop-secret", "us-east-1", "kvbench"


def peers(target: str) -> str:
    """The last line that scripts/peers.sh prints for a target: what it installed."""
    done = subprocess.run(
        [str(REPOSITORY / "scripts" / "peers.sh"), target], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip().splitlines()[-1]


def free_ports(count: int, reserve_bus: bool = False) -> list[int]:
    """Ports that nobody listens on now; for cluster nodes the bus port too, 10000 above. They lie below the ports that the
    kernel gives to clients: one of those could be taken while its server is down, even by a client that connects to itself."""
    first_of_clients = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    end = first_of_clients if first_of_clients > 15_000 else 32_000
    found = []
    for port in random.sample(range(end - 10_000, end), 1000):
        if is_free(port) and not (reserve_bus and not is_free(port + 10_000)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} free ports below {end}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_for_port(port: int, process: subprocess.Popen, log: pathlib.Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError(f"the server for port {port} did not start: {log.read_text(errors='replace')[-2000:]}")


class Server:
    """One process; it ends with the `with` block."""

    def __init__(self, command: list, port: int, log: pathlib.Path, **options):
        self.command, self.port, self.log, self.options = [str(word) for word in command], port, log, options
        self.process = None
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self.options)
        wait_for_port(self.port, self.process, self.log)

    def stop(self, kill: bool = False) -> None:
        if self.process.poll() is None:
            (self.process.kill if kill else self.process.terminate)()
        self.process.wait(timeout=20)

    def cpu_s(self) -> float:
        """CPU seconds of its threads and of its children's, by the scheduler's own count."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        nanoseconds = 0
        for process in [str(self.process.pid), *children]:
            for thread in pathlib.Path(f"/proc/{process}/task").iterdir():
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.stop()


# ---- Redis and Valkey ---------------------------------------------------------------------------------------------


class Redis(Server):
    def __init__(self, program: str, scratch: pathlib.Path, port: int | None = None, *options: object, tls: bool = False):
        port = port or free_ports(1)[0]
        scratch.mkdir(parents=True, exist_ok=True)
        self.directory = scratch
        command = [program, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", scratch]
        command += ["--port", 0, "--tls-port", port] if tls else ["--port", port]
        super().__init__([*command, *options], port, scratch / "server.log")

    def ask(self, *words: object, password: str | None = None) -> bytes:
        """One inline-safe command over a plain connection; the raw reply."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as link:
            for command in ([["AUTH", password]] if password else []) + [list(words)]:
                parts = [str(word).encode() for word in command]
                frame = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
                link.sendall(frame)
                reply = link.recv(1 << 16)
        return reply


@contextlib.contextmanager
def cluster(
    program: str, scratch: pathlib.Path, *more: object, nodes: int = 3, replicas: int = 0, timeout_ms: int = 15_000
):
    """A cluster with so many replicas for each primary and all slots covered. A node that is silent for `timeout_ms` counts
    as lost, also one that a busy machine does not let run."""
    with contextlib.ExitStack() as stack:
        members = []
        for port in free_ports(nodes, reserve_bus=True):
            options = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", timeout_ms)
            members.append(stack.enter_context(Redis(program, scratch / str(port), port, *options, *more)))
        cli = pathlib.Path(program).parent / pathlib.Path(program).name.replace("-server", "-cli")
        addresses = [f"127.0.0.1:{member.port}" for member in members]
        subprocess.run(
            [str(cli), "--cluster", "create", *addresses, "--cluster-replicas", str(replicas), "--cluster-yes"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + READY_S
        while any(b"cluster_state:ok" not in member.ask("CLUSTER", "INFO") for member in members):
            if time.monotonic() > deadline:
                raise AssertionError("the cluster does not come up")
            time.sleep(0.05)
        yield members


def certificates(scratch: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """An authority and a server certificate for localhost and 127.0.0.1: (ca, certificate, key)."""
    scratch.mkdir(parents=True, exist_ok=True)
    ca, ca_key, key, request, certificate = (
        scratch / name for name in ("ca.pem", "ca.key", "server.key", "server.csr", "server.pem")
    )
    extensions = scratch / "extensions"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subject = ["-subj", "/CN=interop"]
    for command in (
        ["req", "-x509", *new_key, "-keyout", ca_key, "-out", ca, "-days", 2, *subject],
        ["req", *new_key, "-keyout", key, "-out", request, "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", 2, "-out", certificate]
        + ["-extfile", extensions],
    ):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    return ca, certificate, key


# ---- S3 -----------------------------------------------------------------------------------------------------------


def s3s_fs(program: pathlib.Path, scratch: pathlib.Path) -> Server:
    """A real S3 server that checks signatures, on a directory."""
    port = free_ports(1)[0]
    (scratch / "data" / BUCKET).mkdir(parents=True, exist_ok=True)
    command = [program, "--host", "127.0.0.1", "--port", port, "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]
    command += ["--domain", f"127.0.0.1:{port}", scratch / "data"]
    return Server(command, port, scratch / "server.log", env={**os.environ, "RUST_LOG": "error"})


def moto(program: pathlib.Path, scratch: pathlib.Path) -> Server:
    """moto's server: every S3 function, no speed, no signature check."""
    port = free_ports(1)[0]
    scratch.mkdir(parents=True, exist_ok=True)
    return Server([program, "-H", "127.0.0.1", "-p", port], port, scratch / "server.log")


def nginx(
    scratch: pathlib.Path,
    certificate: pathlib.Path | None = None,
    key: pathlib.Path | None = None,
    http: str = "",
    workers: int = 1,
) -> Server:
    """The fastest thing at hand that speaks S3's data path: PUT, GET with ranges, HEAD. It checks no signature. Its DAV module
    answers a PUT with 201 or 204, which the AWS CRT does not take for S3, so a filter makes it 200. `http`: more of its
    configuration."""
    port = free_ports(1)[0]
    for name in ("data", "tmp"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    (scratch / "status.js").write_text(
        "function as_s3(r) { if (r.method == 'PUT' && r.status < 300) { r.status = 200; } }\nexport default { as_s3 };\n"
    )
    other = "".join(f"{kind}_temp_path {scratch}/tmp/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    tls = f" ssl; ssl_certificate {certificate}; ssl_certificate_key {key}" if certificate else ""
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = scratch / "nginx.conf"
    configuration.write_text(
        f"load_module modules/ngx_http_js_module.so; daemon off; {user} worker_processes {workers}; pid {scratch}/pid;"
        f"error_log {scratch}/server.log; events {{ worker_connections 1024; }}"
        f"http {{ {http} access_log off; client_max_body_size 1g; client_body_temp_path {scratch}/tmp/body; {other}"
        f" js_path {scratch}; js_import status.js; client_body_buffer_size 1m; sendfile on; keepalive_requests 10000000;"
        f" server {{ listen 127.0.0.1:{port}{tls}; root {scratch}/data;"
        " location / { dav_methods PUT DELETE; create_full_put_path on; js_header_filter status.as_s3; } } }\n"
    )
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
    return Server([program, "-c", configuration], port, scratch / "server.log")
