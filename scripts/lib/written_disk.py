"""A small ext4 on a disk that was written in full before, as a drive in use is: a loop device on a file that was written past the
page cache. The blocks of new files then hold bytes already on the device below. Needs root, fio, losetup and mkfs.ext4."""

import contextlib
import os
import pathlib

from lib import fio, native


def missing() -> str | None:
    """Why it cannot be made here."""
    return None if os.geteuid() == 0 else "it needs root for a loop device and a mount"


def output_of(*command: object) -> str:
    return native.run(list(command)).expect(0).stdout.strip()


@contextlib.contextmanager
def mounted(root: pathlib.Path, gib: int):
    """The directory it is mounted at. `discard` is off, so that nothing that is deleted is given back to the device."""
    image, place = root / "disk.img", root / "disk"
    place.mkdir()
    # fio does not write zeros, which a device may drop.
    fio.run(image, "write", f"{gib}g", "1m")
    loop = output_of("losetup", "--direct-io=on", "--find", "--show", image)
    try:
        output_of("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "nodiscard,lazy_itable_init=0", loop)
        output_of("mount", "-o", "nodiscard", loop, place)
        try:
            yield place
        finally:
            output_of("umount", place)
    finally:
        output_of("losetup", "--detach", loop)
        image.unlink()
