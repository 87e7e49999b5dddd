"""Runs named checks one after the other and prints the result of each: shared by the interop parts. Standard library only.

A check is called with an argument, or with what the argument returns if it is a function, and a fresh directory. It returns a sentence, or raises: Skip for what is missing here, anything
else is a failure. The last line printed is "N passed, N failed, N skipped", which scripts/interop.sh reads.
"""

import collections
import contextlib
import os
import pathlib
import sys
import tempfile
import traceback
from typing import NoReturn

from lib.peers import Skip


def require(truth: bool, what: object) -> None:
    if not truth:
        raise AssertionError(what)


@contextlib.contextmanager
def captured(log: pathlib.Path):
    """Sends what this process and its children print to a file. Works on descriptors: native code prints too."""
    sys.stdout.flush()
    saved = [os.dup(1), os.dup(2)]
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, target)
            os.close(descriptor)


class Tally:
    """Counts what held and what did not, by name."""

    def __init__(self) -> None:
        self.counts = collections.Counter()

    def add(self, outcome: str, text: str) -> None:
        self.counts[outcome] += 1
        print(f"{outcome}  {text}", flush=True)

    def that(self, name: str, holds: object, otherwise: object = "") -> None:
        self.add(*(("pass", name) if holds else ("FAIL", f"{name}: {otherwise}")))

    def equal(self, name: str, seen: object, expected: object) -> None:
        self.that(name, seen == expected, f"got {seen!r}, expected {expected!r}")

    def run(self, name: str, check, argument: object, root: pathlib.Path) -> None:
        """What a check prints is shown when it fails."""
        scratch = pathlib.Path(tempfile.mkdtemp(dir=root))
        log = scratch / "log"
        try:
            with captured(log):
                proof = check(argument() if callable(argument) else argument, scratch)
            self.add("pass", f"{name}: {proof}")
        except Skip as reason:
            self.add("skip", f"{name}: {reason}")
        except Exception:
            self.add("FAIL", f"{name}\n{traceback.format_exc()}{log.read_text(errors='replace')}")

    def end(self) -> NoReturn:
        """Ends the process: how peers' libraries take themselves down is not checked, and some print or crash then."""
        print(f"{self.counts['pass']} passed, {self.counts['FAIL']} failed, {self.counts['skip']} skipped", flush=True)
        sys.stderr.flush()
        os._exit(int(self.counts["FAIL"] > 0))


def run_all(checks: list[tuple], root: pathlib.Path) -> NoReturn:
    """Checks of a name, a function and its argument; the whole of a part."""
    tally = Tally()
    for name, check, argument in checks:
        tally.run(name, check, argument, root)
    tally.end()
