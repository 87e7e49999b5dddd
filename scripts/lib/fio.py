"""fio jobs as near to our own probe as its options come. Standard library only.

Our buffers are in transparent huge pages. Where a request is copied page by page (virtio, IOMMUs) buffers of 4 KiB pages are up to
three times slower, so fio gets the same: allocated by a malloc that asks for huge pages, and aligned to them.
"""

import json
import os
import pathlib
import subprocess

from lib.native import MIB


def run(path: pathlib.Path, direction: str, size: str, block: str, *more: str, depth: int = 8) -> float:
    """MiB/s of one job on a file or device: io_uring, O_DIRECT, registered buffers and file."""
    job = ["fio", "--name=raw", f"--filename={path}", f"--size={size}", f"--bs={block}", "--ioengine=io_uring", "--direct=1"]
    job += ["--fixedbufs=1", "--registerfiles=1", f"--iodepth={depth}", "--mem_align=2m", f"--rw={direction}", *more]
    huge = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    done = subprocess.run([*job, "--output-format=json"], check=True, capture_output=True, env=huge)
    return json.loads(done.stdout)["jobs"][0][direction]["bw_bytes"] / MIB
