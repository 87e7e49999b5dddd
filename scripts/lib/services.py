"""Redis, Valkey and S3 servers on loopback ports of their own. Standard library only."""

import contextlib
import io
import os
import pathlib
import shutil
import socket
import subprocess
import time

from lib.servers import READY_S, Server, free_ports

ACCESS_KEY, SECRET_KEY, REGION, BUCKET = "interop-access", "interop-secret", "us-east-1", "kvbench"


# ---- Redis and Valkey ---------------------------------------------------------------------------------------------


class Redis(Server):
    """A plain or TLS server without persistence."""

    def __init__(self, program: str, scratch: pathlib.Path, port: int | None = None, *options: object, tls: bool = False):
        port = port or free_ports(1)[0]
        scratch.mkdir(parents=True, exist_ok=True)
        command = [program, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", scratch]
        command += ["--port", 0, "--tls-port", port] if tls else ["--port", port]
        super().__init__([*command, *options], port, scratch / "server.log")

    def ask(self, *words: object, password: str | None = None) -> bytes:
        """One inline-safe command over a plain connection; the raw reply."""
        with socket.create_connection(("127.0.0.1", self.port), READY_S) as link, link.makefile("rb") as answers:
            for command in ([["AUTH", password]] if password else []) + [list(words)]:
                parts = [str(word).encode() for word in command]
                frame = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
                link.sendall(frame)
                reply = whole_reply(answers)
        return reply


def whole_reply(answers: io.BufferedIOBase) -> bytes:
    """A simple, a bulk or an array reply of RESP2, however many segments it comes in."""
    line = answers.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError(f"the server closed the connection after {line!r}")
    kind, count = line[:1], line[1:-2]
    if kind == b"$" and int(count) >= 0:
        rest = answers.read(int(count) + 2)
        if len(rest) != int(count) + 2:
            raise ConnectionError(f"the server closed the connection after {len(rest)} of {int(count)} bytes")
        return line + rest
    if kind == b"*":
        return line + b"".join(whole_reply(answers) for _ in range(int(count)))
    return line


def cluster_is_ok(member: Redis) -> bool:
    """Whether all slots are served, as this node sees it."""
    return b"cluster_state:ok" in member.ask("CLUSTER", "INFO")


@contextlib.contextmanager
def cluster(
    program: str, scratch: pathlib.Path, *more: object, nodes: int = 3, replicas: int = 0, timeout_ms: int = 15_000
):
    """A cluster with so many replicas for each primary and all slots covered. A node that is silent for `timeout_ms` counts
    as lost, also one that a busy machine does not let run."""
    with contextlib.ExitStack() as stack:
        members = []
        for port in free_ports(nodes, with_bus=True):
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
        while not all(cluster_is_ok(member) for member in members):
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
    """A fast server for S3's data path: PUT, GET with ranges, HEAD. It checks no signature. Its DAV module
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
