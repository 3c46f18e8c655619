"""Decoded frames as libswscale takes them: whole pictures, in colours that have a meaning."""

from fractions import Fraction
from typing import Any

import av

UNSPECIFIED = 2
NO_MEANING = (0, 3)  # matrix, primaries and transfer: 0 is for RGB alone, 3 reserved (Rec. ITU-T H.273)


class Plain:
    """Takes two marks off decoded frames, as ffmpeg does.

    "Two fields": libswscale would scale the colours of each field on their own. Reserved colours: it would refuse them.
    """

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._graphs: dict[tuple[int, int, str], Any] = {}

    def __call__(self, frame: Any) -> Any:
        if not frame.format.is_rgb:
            for name in ("colorspace", "color_primaries", "color_trc"):
                if getattr(frame, name) in NO_MEANING:
                    setattr(frame, name, UNSPECIFIED)
        return self._whole(frame) if frame.interlaced_frame else frame

    def _whole(self, frame: Any) -> Any:
        kind = frame.width, frame.height, frame.format.name
        if kind not in self._graphs:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=self._time_base
            )
            change, sink = graph.add("setfield", "prog"), graph.add("buffersink")
            source.link_to(change)
            change.link_to(sink)
            graph.configure()
            self._graphs = {kind: graph}
        self._graphs[kind].push(frame)
        return self._graphs[kind].pull()
