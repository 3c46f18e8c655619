"""How long a video may take to be opened or read."""

import time

from besnet.video.container import VideoError

READ_SEC = 300.0  # one opening, and every read


class Deadline:
    """Raises VideoError once the time is up; None gives all the time in the world."""

    def __init__(self, name: str, sec: float | None) -> None:
        self.name, self.sec = name, sec
        self.restart()

    def restart(self) -> None:
        """Restart the clock."""
        self.end = float("inf") if self.sec is None else time.monotonic() + self.sec

    def check(self) -> None:
        """Call this often: before every packet."""
        if time.monotonic() > self.end:
            raise VideoError(f"{self.name}: did not finish within {self.sec:g} s")
