"""Makes files that break loaders, out of real videos."""

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

Maker = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data))]


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, 16, 64, 500))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_header(data: bytes, rng: random.Random) -> bytes:
    """Flips within the index of an MP4 (it says where each frame is), else within the first kilobytes."""
    at = data.find(b"moov")
    begin, end = (at, min(len(data), at + 8000)) if at >= 0 else (0, min(len(data), 4000))
    changed = bytearray(data)
    for _ in range(rng.choice((1, 3, 10, 40))):
        changed[rng.randrange(begin, end)] = rng.randrange(256)
    return bytes(changed)


def zeros(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    length = rng.randrange(1, 20_000)
    return (data[:at] + bytes(length) + data[at + length :])[: len(data)]


def splice(data: bytes, rng: random.Random) -> bytes:
    """A piece of the file repeated, moved or left out."""
    a, b = sorted(rng.randrange(len(data)) for _ in range(2))
    return rng.choice((data[:a] + data[b:], data[:b] + data[a:], data[b:] + data[:b]))


def more_frames_than_there_are(data: bytes, rng: random.Random) -> bytes:
    """Counts in an MP4's tables (sizes, durations) raised far beyond what follows."""
    changed = bytearray(data)
    for name, offset in ((b"stsz", 12), (b"stts", 8), (b"mvhd", 20), (b"stco", 8), (b"stsc", 8)):
        at = data.find(name)
        if at > 0 and at + offset + 8 < len(data) and rng.random() < 0.6:
            changed[at + offset : at + offset + 4] = struct.pack(">I", rng.choice((10**4, 10**6, 2**31 - 1, 2**32 - 1)))
    return bytes(changed)


def other_size(data: bytes, rng: random.Random) -> bytes:
    """A frame size in the sample entry of an MP4 that is not the stream's."""
    at = data.find(b"avc1")
    if at < 0:
        return flip(data, rng)
    changed = bytearray(data)
    changed[at + 28 : at + 32] = struct.pack(
        ">HH", rng.choice((0, 1, 16, 8192, 65535)), rng.choice((0, 2, 4096, 65535))
    )
    return bytes(changed)


def web_page(data: bytes, rng: random.Random) -> bytes:
    return b"<!DOCTYPE html><html><body>Video unavailable" + b"<p>sorry</p>" * rng.randrange(1000) + b"</body></html>"


def noise(data: bytes, rng: random.Random) -> bytes:
    head = data[: rng.choice((0, 32, 200))]
    return head + rng.randbytes(rng.randrange(1, 50_000))


def playlist(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        (
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\n",
            b"[InternetShortcut]\nURL=http://127.0.0.1/\n",
            b"http://127.0.0.1:1/video.mp4\n",
        )
    )


MAKERS: list[Maker] = [
    cut, flip, flip_header, zeros, splice, more_frames_than_there_are, other_size, web_page, noise, playlist,
]  # fmt: skip
WEIGHTS = [3, 3, 4, 2, 2, 3, 2, 1, 1, 1]


def huge_frames(path: Path, width: int = 8192, height: int = 8192, frames: int = 2) -> None:
    """A small file of huge frames."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        frame = av.VideoFrame(width, height, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for n in range(frames):
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def hours_long(path: Path, count: int) -> None:
    """The same tiny key frame, shown for hours."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24").reformat(
            format="yuvj420p"
        )
        packet = stream.encode(picture)[0]
        data = bytes(packet)
        for n in range(count):
            copied = av.Packet(data)
            copied.stream, copied.pts, copied.dts, copied.time_base = stream, n, n, packet.time_base
            copied.is_keyframe = True
            container.mux(copied)


def hostile_files(shared_data: Path, folder: Path, count: int, seed: int = 0) -> list[Path]:
    """`count` files and things that are no files, below `folder`."""
    rng = random.Random(seed)
    sources = sorted(p for p in (shared_data / "odd").iterdir() if p.stat().st_size < 400_000)
    sources += (
        sorted(shared_data.glob("jhmdb/*/*.mp4"))[::25] + sorted(shared_data.glob("weizmann/videos/*/*.avi"))[::9]
    )
    made = [folder / name for name in ("fifo.mp4", "loop.mp4", "empty.mp4", "folder.mp4", "huge.mp4", "hours.mp4")]
    os.mkfifo(made[0])
    made[1].symlink_to(made[1])
    made[2].touch()
    made[3].mkdir()
    huge_frames(made[4])
    hours_long(made[5], 600_000)
    device, secret = folder / "device.mp4", folder / "secret.mp4"
    device.symlink_to("/dev/zero")
    secret.write_bytes(sources[0].read_bytes())
    secret.chmod(0)
    made += [device, secret, folder / "gone.mp4"]
    extensions = (".mp4", ".avi", ".mkv", ".webm", ".mp3", ".txt", "", ".mp4\n", " é\u202e.mp4")
    for n in range(count - len(made)):
        source = rng.choice(sources)
        maker = rng.choices(MAKERS, WEIGHTS)[0]
        path = folder / f"{n:04d}-{maker.__name__}{source.suffix if rng.random() < 0.7 else rng.choice(extensions)}"
        path.write_bytes(maker(source.read_bytes(), rng))
        made.append(path)
    # Bytes that are no text in any encoding, as names on old disks.
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.mp4"))
    odd.write_bytes(sources[0].read_bytes()[:1000])
    return [*made, odd]
