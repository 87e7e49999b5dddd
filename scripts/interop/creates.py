"""What it costs to create a file right now, and waiting until that is normal. Standard library only.

A journal-less ext4 searches past recently deleted inodes at every create, for about five minutes after many deletions:
a measurement that starts right after the last one was removed shows that search instead of the adapters.
"""

import os
import pathlib
import statistics
import sys
import tempfile
import time

# Undisturbed it is 10 to 30 us; at 100 us the files of a 256 KiB store cost more to create than to write.
SLOW_US = 50.0
WAIT_S = 420
POLL_S = 20
SAMPLES = 128


def cost_us(root: pathlib.Path) -> float:
    """Median time to create an empty file in a new directory, which stays: deleting it would be the very problem."""
    directory, times = pathlib.Path(tempfile.mkdtemp(prefix="creates-", dir=root)), []
    for number in range(SAMPLES):
        started = time.perf_counter()
        os.close(os.open(directory / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        times.append((time.perf_counter() - started) * 1e6)
    return statistics.median(times)


def wait_until_quick(root: pathlib.Path) -> float:
    """The cost after waiting, for at most WAIT_S, until it is below SLOW_US."""
    deadline = time.monotonic() + WAIT_S
    while (cost := cost_us(root)) > SLOW_US and time.monotonic() < deadline:
        print(f"creating a file takes {cost:.0f} us, as after deletions nearby: waiting", file=sys.stderr)
        time.sleep(POLL_S)
    return cost
