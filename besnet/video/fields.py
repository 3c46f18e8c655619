"""Frames of interlaced video as whole pictures, as ffmpeg shows them unless it is asked to deinterlace."""

from fractions import Fraction
from typing import Any

import av


class WholeFrames:
    """Takes the mark "two fields" off decoded frames: libswscale would scale the colours of each field on their own."""

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._graphs: dict[tuple[int, int, str], Any] = {}

    def __call__(self, frame: Any) -> Any:
        if not frame.interlaced_frame:
            return frame
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
