#!/usr/bin/env python3
"""Measures what TLS costs the `valkey` adapter: the same rounds on one server without and with TLS, in turn, with the CPU
seconds per GiB of both sides.

    scripts/valkey-tls.py [--slices 7] [--connections 1,8] [--congestion cubic] [--out FILE]
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "interop"))
sys.dont_write_bytecode = True
import servers
import side_by_side as side

LOAD = side.Load(num_keys=64, in_flight=4, data_size=256 * 1024)


def rows_for(connections: int, slices: int, program: str, scratch: pathlib.Path) -> list[str]:
    ca, certificate, key = servers.certificates(scratch / "certificates")
    options = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no")
    with (
        servers.Redis(program, scratch / "plain") as plain,
        servers.Redis(program, scratch / "tls", None, *options, tls=True) as tls,
    ):

        def spec(server: servers.Redis, **more: object) -> dict:
            return {"type": "valkey", "startup_nodes": f"127.0.0.1:{server.port}", "num_workers": connections, **more}

        contestants = {
            "plain": lambda: side.ours(spec(plain), LOAD, plain),
            "TLS": lambda: side.ours(spec(tls, tls_enable=True, tls_ca_file=str(ca)), LOAD, tls),
        }
        results = side.in_turn(contestants, slices)
    rows = []
    for operation in side.OPERATIONS:
        one = {name: by_operation[operation] for name, by_operation in results.items()}
        rows.append(
            f"| {operation.lower()} | {connections} | {side.speed(one['plain'])} | {side.cost(one['plain'])} "
            f"| {side.speed(one['TLS'])} | {side.cost(one['TLS'])} | {side.ratio(one['TLS'], one['plain'])[1]} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=7)
    parser.add_argument("--connections", default="1,8")
    parser.add_argument("--congestion", help="TCP congestion control, in a network of its own (needs root)")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.congestion:
        side.in_own_namespaces(arguments.congestion)
    program = servers.peers("valkey")
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.split(" sha=")[0]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for connections in map(int, arguments.connections.split(",")):
            rows += rows_for(connections, arguments.slices, program, pathlib.Path(scratch, str(connections)))
    congestion = f" --congestion {arguments.congestion}" if arguments.congestion else ""
    text = f"""# `valkey` with and without TLS

Made by `scripts/valkey-tls.py --slices {arguments.slices} --connections {arguments.connections}{congestion}`. Medians of \
{arguments.slices} slices (minimum to maximum), in turn, {version.strip()} on loopback. {side.machine()}.
{LOAD.num_keys} keys x {LOAD.in_flight} submits of 256 KiB, {side.ROUNDS} rounds. Speeds in MiB/s; then CPU seconds per GiB of client and
server, and the server's share of a core meanwhile.

| operation | connections | plain | client | server | share | TLS | client | server | share | TLS to plain |
|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}
"""
    side.write(arguments.out, text)


if __name__ == "__main__":
    main()
