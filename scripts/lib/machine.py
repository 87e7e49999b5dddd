"""Effects of the machine that a measurement has to avoid: slow creation of files, memory that the host has yet to provide, TCP
settings, page size of a tmpfs. Standard library only."""

import contextlib
import mmap
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# Undisturbed it is 10 to 30 us; at 100 us the files of a 256 KiB store cost more to create than to write.
SLOW_CREATE_US = 50.0
WAIT_S = 420
POLL_S = 20
SAMPLES = 128
TOUCH_BYTES = 1 << 30


def create_us(root: pathlib.Path) -> float:
    """Median time to create an empty file in a new directory, which stays, because deletions are what slows creation down. A journal-less
    ext4 searches past recently deleted inodes at every create, for about five minutes after many deletions."""
    directory, times = pathlib.Path(tempfile.mkdtemp(prefix="creates-", dir=root)), []
    for number in range(SAMPLES):
        started = time.perf_counter()
        os.close(os.open(directory / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        times.append((time.perf_counter() - started) * 1e6)
    return statistics.median(times)


def wait_for_quick_creates(root: pathlib.Path) -> float:
    """The time of a create after waiting, for at most WAIT_S, until it is below SLOW_CREATE_US."""
    deadline = time.monotonic() + WAIT_S
    while (cost := create_us(root)) > SLOW_CREATE_US and time.monotonic() < deadline:
        print(f"creating a file takes {cost:.0f} us, as after deletions nearby: waiting", file=sys.stderr)
        time.sleep(POLL_S)
    return cost


def touch_memory(amount: int = TOUCH_BYTES) -> None:
    """Uses and frees this much memory, so that what follows gets memory that the machine already holds.

    A virtual machine gets each page from its host when it first uses it, at about 0.4 GiB/s a core where this was written, and
    gives it back when it has been free for two seconds or so. Without this right before a slice, a buffered store would show
    that instead of either adapter. What was freed last is given out first.
    """
    cores = os.cpu_count() or 1
    # Buffers use huge pages and the page cache small ones, so both kinds of free memory are touched.
    shares = [(amount // cores, mmap.MADV_HUGEPAGE), (amount // cores // 4, mmap.MADV_NOHUGEPAGE)]
    children = []
    for _ in range(cores):
        child = os.fork()
        if child == 0:
            held = []
            for share, advice in shares:
                pages = share // mmap.PAGESIZE
                memory = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                memory.madvise(advice)
                memory[:: mmap.PAGESIZE] = b"\1" * pages
                held.append(memory)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def in_own_namespaces(congestion: str | None) -> None:
    """Starts this script again with a network of its own, whose TCP uses this congestion control, and mounts of its own; the
    machine's settings stay and everything is gone with the script. BBR, where a machine has it, paces even loopback as if
    there were a link. Nothing happens without a name."""
    if not congestion or os.environ.get("LMCACHE_BENCH_OWN_NETWORK"):
        return
    script = f'ip link set lo up && echo {congestion} >/proc/sys/net/ipv4/tcp_congestion_control && exec "$@"'
    command = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", sys.executable, "-B", *sys.argv]
    os.execvpe(command[0], command, {**os.environ, "LMCACHE_BENCH_OWN_NETWORK": "1"})


@contextlib.contextmanager
def tmpfs(directory: pathlib.Path, huge_pages: bool):
    """Files in memory, in huge pages or in small ones. Only after in_own_namespaces()."""
    directory.mkdir(parents=True, exist_ok=True)
    huge = "always" if huge_pages else "never"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"huge={huge},size=6g", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)
