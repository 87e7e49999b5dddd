"""Interleaved runs, and their medians, ratios and spreads. Standard library only.

The speed of a machine drifts, that of a virtual machine most. So whatever is compared runs in turns, and ratios are formed between
neighbouring runs before the median is taken.
"""

import json
import os
import pathlib
import statistics
import sys
import time


def turned(names: list, number: int) -> list:
    """The order of round `number`: another begins each time, and every other round goes backwards."""
    first = number % max(len(names), 1)
    order = names[first:] + names[:first]
    return order if number % 2 == 0 else order[::-1]


def in_turn(contestants: dict, slices: int, rare: tuple = (), rare_slices: int = 3) -> dict:
    """Calls every contestant in every slice, the rare ones (those that start slowly) in the first few; what each returned, by
    name, then by key. The first slice is discarded: a virtual machine gets memory that was never used from its host far more
    slowly than any contestant fills it."""
    results = {name: {} for name in contestants}
    for number in range(slices + 1):
        for name, run in contestants.items():
            if name in rare and not 0 < number <= rare_slices:
                continue
            for key, value in run().items():
                if number > 0:
                    results[name].setdefault(key, []).append(value)
    return results


def over_neighbours(ours: list[float], theirs: list[float]) -> list[float]:
    """Each of ours over the harmonic mean of the run of theirs before it and the one after it."""
    return [own / statistics.harmonic_mean(pair) for own, pair in zip(ours, zip(theirs, theirs[1:]))]


def spread(values: list[float], form: str = ".0f") -> str:
    """Median, minimum and maximum, each in this format."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def quartiles(values: list[float], decimals: int = 0) -> str:
    """Median and quartiles, by linear interpolation."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"


class State:
    """Results kept in a JSON file between calls, so that a long comparison can be made in pieces. Without a path nothing is kept.
    Nothing starts after `stop_after_s`."""

    def __init__(self, path: str | None, stop_after_s: float = float("inf"), empty: object = None) -> None:
        self.path = pathlib.Path(path) if path else None
        self.end = time.monotonic() + stop_after_s
        self.left = 0
        self.kept = json.loads(self.path.read_text()) if self.path and self.path.exists() else empty

    def may_start(self) -> bool:
        late = time.monotonic() > self.end
        self.left += late
        return not late

    def is_complete(self) -> bool:
        if self.left:
            print(f"{self.left} runs left: call again with the same --state", file=sys.stderr)
        return not self.left

    def write(self) -> None:
        if self.path:
            new = self.path.with_name(self.path.name + ".new")
            new.write_text(json.dumps(self.kept))
            os.replace(new, self.path)

    @staticmethod
    def options(parser) -> None:
        parser.add_argument("--state", help="JSON file that gathers results of several calls")
        parser.add_argument("--stop-after-s", type=float, default=float("inf"))
