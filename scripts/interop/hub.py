"""A stand-in for the bucket API of the Hugging Face Hub, on loopback. It keeps names, hashes and sizes; huggingface_hub's transfer
library keeps the bytes in the folder that the server names (`local://`). Standard library only."""

import http.server
import json
import pathlib
import threading
import time
import urllib.parse

BODY_BYTES_MAX = 16 << 20


class Hub:
    """One bucket server with its folder of contents. Use as a context manager; `url` is what HF_ENDPOINT names."""

    def __init__(self, folder: pathlib.Path, object_bytes: int) -> None:
        # By bucket: path -> hash. Every object of a benchmark has one size, and an addition does not name it.
        self.folder, self.object_bytes, self.buckets = folder, object_bytes, {}
        hub = self

        class Server(http.server.ThreadingHTTPServer):
            # Adapters open many connections at once.
            request_queue_size = 1024

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self, code: int, value: object = None, **headers: str) -> None:
                body = b"" if value is None else json.dumps(value).encode()
                self.send_response(code)
                for name, text in headers.items():
                    self.send_header(name.replace("_", "-"), text)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def handle_any(self) -> None:
                length = min(int(self.headers.get("Content-Length") or 0), BODY_BYTES_MAX)
                body = self.rfile.read(length)
                path = urllib.parse.urlsplit(self.path).path.split("/")[1:]
                match self.command, path:
                    case "POST", ["api", "buckets", space, name]:
                        hub.buckets.setdefault(f"{space}/{name}", {})
                        self.answer(200, {"url": f"{hub.url}/buckets/{space}/{name}"})
                    case _, [*_, "buckets", space, name, _] | [*_, "buckets", space, name, _, _] if (
                        f"{space}/{name}" not in hub.buckets
                    ):
                        self.answer(404, {"error": "no such bucket"}, X_Error_Code="RepoNotFound")
                    case "POST", ["api", "buckets", space, name, "batch"]:
                        self.answer(200, {"failed": hub.batch(hub.buckets[f"{space}/{name}"], body)})
                    case "POST", ["api", "buckets", space, name, "paths-info"]:
                        files = hub.buckets[f"{space}/{name}"]
                        known = [path for path in json.loads(body)["paths"] if path in files]
                        self.answer(200, [hub.info(path, files[path]) for path in known])
                    case "GET", ["api", "buckets", _, _, "xet-write-token" | "xet-read-token"]:
                        self.answer(200, hub.token())
                    case "HEAD", ["buckets", space, name, "resolve", path]:
                        xet_hash = hub.buckets[f"{space}/{name}"].get(urllib.parse.unquote(path))
                        if xet_hash is None:
                            self.answer(404, X_Error_Code="EntryNotFound")
                            return
                        route = f"{hub.url}/api/buckets/{space}/{name}/xet-read-token"
                        self.answer(200, X_Xet_Hash=xet_hash, X_Xet_Refresh_Route=route, X_Linked_Size=str(hub.object_bytes))
                    case _:
                        self.answer(404, {"error": "not part of this stand-in"})

            do_GET = do_POST = do_HEAD = handle_any

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def token(self) -> dict:
        return {"accessToken": "stand-in", "casUrl": f"local://{self.folder}", "exp": int(time.time()) + 3600}

    @staticmethod
    def batch(files: dict, body: bytes) -> list:
        for line in body.splitlines():
            operation = json.loads(line)
            if operation["type"] == "addFile":
                files[operation["path"]] = operation["xetHash"]
            elif operation["type"] == "deleteFile":
                files.pop(operation["path"], None)
        return []

    def info(self, path: str, xet_hash: str) -> dict:
        return {"type": "file", "path": path, "size": self.object_bytes, "xetHash": xet_hash}

