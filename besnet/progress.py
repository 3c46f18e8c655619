"""The progress line of long work: count, rate and time left."""

import sys
import time
from contextlib import suppress


def clock(seconds: float) -> str:
    """Seconds as minutes or hours: 75 → 1:15, 4000 → 1:06:40."""
    minutes, sec = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{sec:02d}" if hours else f"{minutes}:{sec:02d}"


class Line:
    """A line on standard error that rewrites itself on a terminal, and is printed every few seconds into a file."""

    def __init__(self, every_sec: float = 10.0) -> None:
        self.interactive = sys.stderr.isatty()
        self.every_sec = 0.2 if self.interactive else every_sec
        self.printed_sec = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to print again."""
        return time.monotonic() - self.printed_sec >= self.every_sec

    def print(self, text: str) -> None:
        """Show `text` now."""
        self.printed_sec = time.monotonic()
        end = "" if self.interactive else "\n"
        with suppress(OSError):  # a closed terminal must not end the work
            print(f"\r{text:<118}" if self.interactive else text, end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the last text on the screen."""
        if self.interactive:
            with suppress(OSError):
                print(file=sys.stderr, flush=True)


class Meter:
    """Counts work done out of a total, and prints count, rate and time left on a `Line`."""

    def __init__(self, total: int, what: str, quiet: bool = False, every_sec: float = 10.0) -> None:
        self.total = total
        self.what = what
        self.quiet = quiet
        self.done = 0
        self.first = 0  # done when the clock starts: with the first ones, because the start takes extra time
        self.started_sec: float | None = None
        self.line = Line(every_sec)

    def add(self, count: int, note: str = "") -> None:
        """Count `count` more, and print when it is due; `note` is shown at the end of the line."""
        self.done += count
        if self.started_sec is None:
            self.first, self.started_sec = self.done, time.monotonic()
        if not self.quiet and (self.line.due() or self.done == self.total):
            self.line.print(self.text() + (f"  {note}" if note else ""))

    def text(self) -> str:
        """The text of the line."""
        if self.started_sec is None or self.done == self.first:
            return f"{self.done:,}/{self.total:,} {self.what}"
        rate = (self.done - self.first) / max(time.monotonic() - self.started_sec, 1e-6)
        left_sec = (self.total - self.done) / max(rate, 1e-9)
        return f"{self.done:,}/{self.total:,} {self.what}  {rate:.1f} {self.what}/s  {clock(left_sec)} left"

    def close(self) -> None:
        """Leave the last line on the screen."""
        if not self.quiet:
            self.line.close()
