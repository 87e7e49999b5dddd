"""Flags, tables and footers that the measuring scripts share. Standard library only."""

import argparse
import datetime
import os
import pathlib
import platform
import shlex
import sys


def parser(description: str) -> argparse.ArgumentParser:
    """With --out, which every measuring script has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=pathlib.Path, help="also write the report to this file")
    return made


def disk_option(made: argparse.ArgumentParser, default: str | None = None) -> None:
    default = default or os.environ.get("TMPDIR", "/var/tmp")
    made.add_argument("--dir", type=pathlib.Path, default=pathlib.Path(default), help=f"where files are made (default {default})")


def integers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def machine() -> str:
    congestion = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return f"{os.cpu_count()} cores, Linux {platform.release()}, TCP {congestion}"


def invocation() -> str:
    """The command line, less the paths of this machine."""
    words, kept = iter(sys.argv[1:]), []
    for word in words:
        if word in ("--out", "--output", "--state", "--dir"):
            next(words, None)
        elif not os.path.exists(word):
            kept.append(word)
    return shlex.join([f"scripts/measure/{pathlib.Path(sys.argv[0]).name}", *kept])


def made_by(note: str = "") -> str:
    """The line below the title: which script, when, where."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return f"Made by `{invocation()}` on {today}. {machine()}." + (f" {note}" if note else "")


class Table:
    """A Markdown table."""

    def __init__(self, *columns: str) -> None:
        self.lines = [self.line(columns), "|" + "---|" * len(columns)]

    @staticmethod
    def line(cells) -> str:
        return "| " + " | ".join(str(cell) for cell in cells) + " |"

    def add(self, *cells: object) -> None:
        self.lines.append(self.line(cells))

    def __str__(self) -> str:
        return "\n".join(self.lines)


def yes(truth: bool) -> str:
    return "yes" if truth else "no"


def write(out: pathlib.Path | None, title: str, *parts: object) -> None:
    """Prints a report, its parts separated by empty lines, and writes it to `out`."""
    text = "\n\n".join([f"# {title}", *(str(part).strip("\n") for part in parts)]) + "\n"
    print(text, end="", flush=True)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
