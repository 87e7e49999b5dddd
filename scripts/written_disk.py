"""A small ext4 on a disk all of whose space was written before, as a drive in use is: a loop device on a file written in full,
past the page cache. New files then lie where the device below has bytes already. Needs root, fio, losetup and mkfs.ext4."""

import contextlib
import os
import pathlib
import subprocess


def missing() -> str | None:
    """Why it cannot be made here."""
    return None if os.geteuid() == 0 else "it needs root for a loop device and a mount"


def say(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


@contextlib.contextmanager
def mounted(root: pathlib.Path, gib: int):
    """The directory it is mounted at. `discard` is off, so that nothing that is deleted is given back to the device."""
    image, place = root / "disk.img", root / "disk"
    place.mkdir()
    # Not with zeros, which a device may take for nothing.
    say("fio", "--name=fill", f"--filename={image}", f"--size={gib}g", "--bs=1m", "--ioengine=io_uring", "--direct=1",
        "--iodepth=8", "--rw=write")
    loop = say("losetup", "--direct-io=on", "--find", "--show", image)
    try:
        options = "nodiscard,lazy_itable_init=0"
        say("mkfs.ext4", "-q", "-O", "^has_journal", "-E", options, loop)
        say("mount", "-o", "nodiscard", loop, place)
        try:
            yield place
        finally:
            say("umount", place)
    finally:
        say("losetup", "--detach", loop)
        image.unlink()
