"""How far long work has come, how fast it goes, and how long it will still take."""

import sys
import time


def clock(seconds: float) -> str:
    """Seconds as people read them: 75 → 1:15, 4000 → 1:06:40."""
    minutes, sec = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{sec:02d}" if hours else f"{minutes}:{sec:02d}"


class Line:
    """A line that rewrites itself on a terminal, and appears every few seconds in a file."""

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
        print(f"\r{text:<118}" if self.interactive else text, end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the last text standing."""
        if self.interactive:
            print(file=sys.stderr, flush=True)


class Meter:
    """Counts things done out of a total and prints count, rate and time left on standard error."""

    def __init__(self, total: int, what: str, quiet: bool = False, every_sec: float = 10.0) -> None:
        self.total = total
        self.what = what
        self.quiet = quiet
        self.done = 0
        self.first = 0  # done when the clock was started: with the first ones, as starting takes a time of its own
        self.started_sec: float | None = None
        self.line = Line(every_sec)

    def add(self, count: int, note: str = "") -> None:
        """Count `count` more, and print when it is time; `note` is shown at the end of the line."""
        self.done += count
        if self.started_sec is None:
            self.first, self.started_sec = self.done, time.monotonic()
        if not self.quiet and (self.line.due() or self.done == self.total):
            self.line.print(self.text() + (f"  {note}" if note else ""))

    def text(self) -> str:
        """What the line says now."""
        if self.started_sec is None or self.done == self.first:
            return f"{self.done}/{self.total} {self.what}"
        rate = (self.done - self.first) / max(time.monotonic() - self.started_sec, 1e-6)
        left_sec = (self.total - self.done) / max(rate, 1e-9)
        return f"{self.done}/{self.total} {self.what}  {rate:.1f} {self.what}/s  {clock(left_sec)} left"

    def close(self) -> None:
        """Leave the last line standing."""
        if not self.quiet:
            self.line.close()
