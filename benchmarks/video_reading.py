"""Eight pictures of a 720p clip: by seeking, exactly, and by decoding everything.

    python benchmarks/video_reading.py

The clip is made here, 30 s at 30 pictures a second (H.264), once with a keyframe each second, as phones and
streams have them, and once with x264's default of 250 pictures between keyframes.  All ways are timed in turn, in
one process; wall time and this process's own time (all threads) are both told, the latter ignores other programs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import record

from sensorium.core.types import Media
from sensorium.media.policy import MediaPolicy
from sensorium.media.video import clip_facts, read_video

NUM, SIDE, REPEATS = 8, 224, 7
SECONDS, RATE_HZ = 30, 30


def make_clip(path: Path, keyint: int) -> None:
    """Film FFmpeg's own test picture, which moves and counts seconds, under some grain."""
    graph = av.filter.Graph()
    source = graph.add("testsrc2", f"size=1280x720:rate={RATE_HZ}:duration={SECONDS}")
    grain = graph.add("noise", "alls=8:allf=t")
    to_yuv = graph.add("format", "pix_fmts=yuv420p")
    sink = graph.add("buffersink")
    source.link_to(grain)
    grain.link_to(to_yuv)
    to_yuv.link_to(sink)
    graph.configure()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE_HZ, options={"g": str(keyint), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for _ in range(SECONDS * RATE_HZ):
            frame = sink.pull()
            frame.pict_type = av.video.frame.PictureType.NONE  # its source calls every picture a keyframe
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def decode_all(path: Path) -> None:
    """The plain way: decode every picture, turn the wanted ones to RGB."""
    total = SECONDS * RATE_HZ
    wanted = {int((i + 0.5) * total / NUM) for i in range(NUM)}
    with av.open(str(path)) as file:
        frames = [
            frame.reformat(width=398, height=SIDE, format="rgb24").to_ndarray()
            for number, frame in enumerate(file.decode(video=0))
            if number in wanted
        ]
    assert len(np.stack(frames)) == NUM


def main() -> None:
    results: dict[str, Any] = {}
    policy = MediaPolicy()
    with tempfile.TemporaryDirectory() as folder:
        for keyint in (30, 250):
            path = Path(folder) / f"{keyint}.mp4"
            make_clip(path, keyint)
            media = Media(path=path)
            ways = {
                "by seeking": lambda media=media: read_video(media, policy, num_frames=NUM, fit=SIDE),
                "exactly": lambda media=media: read_video(media, policy, num_frames=NUM, fit=SIDE, exact=True),
                "facts alone": lambda media=media: clip_facts(media, policy),
                "decoding all": lambda path=path: decode_all(path),
            }
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for repeat in range(REPEATS):
                for name, way in ways.items():
                    if name == "decoding all" and repeat > 0:
                        continue
                    wall, own = time.perf_counter(), time.process_time()
                    way()
                    times[name].append((time.perf_counter() - wall, time.process_time() - own))
            results[f"a keyframe every {keyint} pictures"] = {
                "megabytes": round(path.stat().st_size / 1e6, 1),
                **{name: _summary(each) for name, each in times.items()},
            }
    record.write("video_reading", {"pictures": NUM, "clip": "1280x720, 30 s, 30 Hz, H.264", "results": results})


def _summary(times: list[tuple[float, float]]) -> dict[str, float]:
    wall, own = zip(*times, strict=True)
    return {
        "median_wall_ms": round(1e3 * statistics.median(wall), 1),
        "least_wall_ms": round(1e3 * min(wall), 1),
        "median_own_ms": round(1e3 * statistics.median(own), 1),
    }


if __name__ == "__main__":
    main()
