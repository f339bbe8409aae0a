"""Speak text with espeak-ng, in this process, without a compiler or a sound card.

Enters: text and a `Voice`.  Leaves: mono samples, float32 (N,) in [-1, 1], and their rate (22,050 Hz).

The `espeakng-loader` wheel (extra `demo`) carries libespeak-ng and its data; the C interface is
`speak_lib.h` of espeak-ng 1.52, called through ctypes.  The library keeps the phase of its pitch flutter
and noise from one text to the next, so each text gets a library loaded afresh: equal text and voice give
equal samples, in every order and process.  It looks through all its voices at the first use, so each
voice gets a folder that holds this one alone; both together cost about 2 ms a text.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sensorium.core.commit import disk_error
from sensorium.core.errors import DataError, MissingExtraError
from sensorium.core.names import nearest

SPEED_WPM = (80, 450)
PITCH = (0, 99)

# speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_RATE, _PITCH = 1, 3
_LIBRARY = "libespeak-ng.so"
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Voice:
    """Say who speaks: a language or accent, a speaker, how fast and how high.

    Attributes:
        name: a language of `list_voices`, such as "en-us", "en-gb", "cmn".
        variant: a speaker of `list_variants`, such as "f2" or "max"; "" is the language's own.
        speed_wpm: words a minute, 80 to 450.
        pitch: 0 (low) to 99 (high); 50 is the speaker's own.

    Raises:
        DataError: speed or pitch out of range.
    """

    name: str = "en-us"
    variant: str = ""
    speed_wpm: int = 175
    pitch: int = 50

    def __post_init__(self) -> None:
        for what, value, (low, high) in (("speed_wpm", self.speed_wpm, SPEED_WPM), ("pitch", self.pitch, PITCH)):
            if not low <= value <= high:
                raise DataError(f"a voice's {what} is {low} to {high}, not {value}", where=str(self))

    def __str__(self) -> str:
        speaker = f"{self.name}+{self.variant}" if self.variant else self.name
        return f"{speaker} {self.speed_wpm} wpm pitch {self.pitch}"


def speak(text: str, voice: Voice | None = None) -> tuple[NDArray[np.float32], int]:
    """Return the samples of `text`, float32 (N,), and their rate in Hz.

    Safe to call from several threads, which take turns.

    Raises:
        MissingExtraError: espeakng-loader is not installed.
        DataError: blank text, or a voice that there is not.
    """
    voice = voice or Voice()
    # A NUL would end the text for C; lone surrogates are no UTF-8.
    spoken = text.replace("\0", " ").encode("utf-8", "replace")
    if not spoken.strip():
        raise DataError("there is nothing to say in a blank text")
    with _LOCK:
        return _synthesize(spoken, voice)


def list_voices() -> tuple[str, ...]:
    """List the languages and accents.  Raises MissingExtraError."""
    return tuple(sorted(_languages()))


def list_variants() -> tuple[str, ...]:
    """List the speakers, that any language can be spoken by.  Raises MissingExtraError."""
    return tuple(sorted(path.name for path in (_data() / "voices" / "!v").iterdir() if path.is_file()))


def voice_sets() -> tuple[tuple[Voice, ...], tuple[Voice, ...]]:
    """Return voices to train on, and others, of other speakers, to test on.

    All are understood: of 28 words by each, templates of two other voices recognise at least 26, where
    whispering, croaking and robot variants lose up to two thirds.
    """
    return _TRAINING, _HELD_OUT


_TRAINING = (
    Voice("en-us", "", 175, 50),
    Voice("en-us", "m1", 150, 40),
    Voice("en-us", "m3", 190, 55),
    Voice("en-us", "m4", 165, 60),
    Voice("en-us", "m7", 200, 45),
    Voice("en-us", "Alex", 170, 65),
    Voice("en-us", "Gene", 155, 50),
    Voice("en-us", "Nguyen", 180, 50),
    Voice("en-us", "sandro", 195, 35),
    Voice("en-us", "quincy", 165, 50),
    Voice("en-us", "michel", 185, 60),
    Voice("en-us", "f1", 160, 55),
    Voice("en-us", "f2", 185, 45),
    Voice("en-us", "f4", 175, 60),
    Voice("en-us", "linda", 170, 45),
    Voice("en-gb", "m6", 160, 45),
    Voice("en-gb", "f2", 180, 55),
)
_HELD_OUT = (
    Voice("en-us", "m2", 155, 55),
    Voice("en-us", "m5", 205, 60),
    Voice("en-us", "robert", 170, 40),
    Voice("en-us", "miguel", 190, 55),
    Voice("en-us", "f3", 165, 50),
    Voice("en-us", "Annie", 180, 50),
)


def write_wav(path: Path, samples_N: NDArray[np.float32], rate_hz: int) -> None:
    """Write mono 16-bit WAV.  Raises DiskError."""
    import soundfile

    try:
        with path.open("wb") as file:
            soundfile.write(file, samples_N, rate_hz, format="WAV", subtype="PCM_16")
    except OSError as error:
        raise disk_error(error, path) from error


def _synthesize(spoken: bytes, voice: Voice) -> tuple[NDArray[np.float32], int]:
    home = _home(voice.name, voice.variant)
    chunks: list[NDArray[np.int16]] = []

    def collect(wave: ctypes._Pointer[ctypes.c_short], length: int, _events: int | None) -> int:
        if wave and length > 0:
            chunks.append(np.ctypeslib.as_array(wave, (length,)).copy())
        return 0

    callback = _CALLBACK(collect)
    with _loaded(home) as (library, rate_hz):
        library.espeak_SetSynthCallback(callback)
        speaker = _languages()[voice.name].name + (f"+{voice.variant}" if voice.variant else "")
        _check(library.espeak_SetVoiceByName(speaker.encode()), "set the voice", voice)
        _check(library.espeak_SetParameter(_RATE, voice.speed_wpm, 0), "set the speed", voice)
        _check(library.espeak_SetParameter(_PITCH, voice.pitch, 0), "set the pitch", voice)
        size = ctypes.c_size_t(len(spoken) + 1)
        _check(library.espeak_Synth(spoken, size, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None), "speak", voice)
        _check(library.espeak_Synchronize(), "finish", voice)
    samples_N = np.concatenate([np.zeros(0, np.int16), *chunks]).astype(np.float32)
    return samples_N / np.float32(32_768), rate_hz


@contextlib.contextmanager
def _loaded(home: Path) -> Iterator[tuple[ctypes.CDLL, int]]:
    """Load the library copy in `home`, and unload it, so that none of its state outlives the text."""
    import _ctypes

    library = ctypes.CDLL(str(home.parent / _LIBRARY))
    try:
        rate_hz = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, bytes(home), _INITIALIZE_DONT_EXIT)
        if rate_hz <= 0:
            raise DataError(f"espeak-ng does not start (status {rate_hz:#x})", where=str(home))
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        try:
            yield library, rate_hz
        finally:
            library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)


def _check(status: int, doing: str, voice: Voice) -> None:
    if status != 0:
        raise DataError(f"espeak-ng could not {doing} (status {status:#x})", where=str(voice))


@functools.cache
def _root() -> Path:
    """Make a temporary folder with a copy of the library, one that no other package of this process loads.

    It lasts until the process ends.  Its path is short: espeak-ng keeps 160 characters of it.
    """
    root = Path(tempfile.mkdtemp(prefix="espeak-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    shutil.copyfile(_loader_path("get_library_path"), root / _LIBRARY)
    return root


@functools.cache
def _home(name: str, variant: str) -> Path:
    """Make a folder of espeak-ng's data with one language and one variant.

    An unknown variant would be ignored by espeak-ng without a word, so it is looked up here.
    """
    data, languages, variants = _data(), _languages(), list_variants()
    if name not in languages:
        raise DataError(f"no voice is called '{name}'", advice=nearest(name, list(languages)))
    if variant and variant not in variants:
        raise DataError(f"no variant is called '{variant}'", advice=nearest(variant, list(variants)))
    home = Path(tempfile.mkdtemp(dir=_root()))
    for path in data.iterdir():
        if path.name not in ("lang", "voices"):
            (home / path.name).symlink_to(path)
    chosen = [languages[name], *([data / "voices" / "!v" / variant] if variant else [])]
    for path in chosen:
        link = home / path.relative_to(data)
        link.parent.mkdir(parents=True)
        link.symlink_to(path)
    return home


@functools.cache
def _languages() -> dict[str, Path]:
    """Find the file of each language; a file's first `language` line is its own, others are fallbacks."""
    own: dict[str, Path] = {}
    fallback: dict[str, Path] = {}
    for path in sorted(p for p in (_data() / "lang").rglob("*") if p.is_file()):
        lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        names = [words[1] for words in lines if words[:1] == ["language"]]
        dictionaries = [words[1] for words in lines if words[:1] == ["dictionary"]]
        if names and any(_has_dictionary(d) for d in (*dictionaries, names[0], names[0].split("-")[0])):
            for i, language in enumerate(names):
                (fallback if i else own).setdefault(language, path)
    return {**fallback, **own}


def _has_dictionary(name: str) -> bool:
    return (_data() / f"{name}_dict").is_file()


def _data() -> Path:
    return _loader_path("get_data_path")


@functools.cache
def _loader_path(function: str) -> Path:
    try:
        import espeakng_loader
    except ImportError:
        raise MissingExtraError(
            "speech synthesis needs the espeakng-loader package", advice="pip install 'sensorium[demo]'"
        ) from None
    return Path(getattr(espeakng_loader, function)()).resolve()
