"""Speech that is made once and kept: text and voice -> a WAV file in a folder.

Enters: text, a `Voice`, a folder.  Leaves: the path of the file, relative to the folder.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from sensorium.data.synthesis.speech import Voice, speak, write_wav


def kept_speech(text: str, voice: Voice, folder: Path) -> str:
    """Speak `text` into `folder` unless that was done before; returns the path relative to it."""
    key = hashlib.blake2b(f"{voice!r}:{text}".encode(), digest_size=8).hexdigest()
    name = f"speech/{key}.wav"
    path = folder / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        samples_N, rate_hz = speak(text, voice)
        draft = path.with_name(f".{key}.{os.getpid()}.wav")
        write_wav(draft, samples_N, rate_hz)
        draft.replace(path)
    return name
