"""What was left out or cut is counted alike: with a cold and a warm cache, with workers, in batches and in memory."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core import registry
from sensorium.core.protocols import Preparer
from sensorium.core.types import Media, Sample
from sensorium.data.corpus import Corpus, InputSpec, TargetSpec
from sensorium.data.loader import BatchOrder, Loader
from sensorium.data.omissions import Omissions, omitted
from sensorium.data.preparation import num_cut
from sensorium.data.preparing import prepare_all
from sensorium.data.several import Several
from sensorium.data.table import Table
from sensorium.data.tokenizers import build
from sensorium.encoders.registry import ENCODERS, ENTRY_POINTS
from sensorium.model.frozen import FeaturePreparer

LONGEST_S = 0.25
OPTIONS: dict[str, object] = {
    "max_seconds": LONGEST_S,
    "max_tokens": 4,
    "max_frames": 3,
    "rate_hz": 8000,
    "templates": ("0[0]",),
}
NEED_MORE = ("hf", "keras", "packaged")
"""Encoders that need a network from elsewhere; their preparers are tried by their own tests."""
LONG_TEXT = "a b c d e f g h"


def sound(path: Path, seconds: float) -> Media:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        tone_N = 8000 * np.sin(np.arange(int(8000 * seconds)) / 3)
        file.writeframes(tone_N.astype("<i2").tobytes())
    return Media(path=path)


def preparer_of(name: str) -> Preparer:
    config = registry.load(ENCODERS, ENTRY_POINTS, name).Config
    return config(**{k: v for k, v in OPTIONS.items() if k in config.model_fields}).preparer()


CUTTING = [
    name
    for name in ENCODERS
    if name.partition(".")[0] in ("text", "audio") and name.partition(".")[2] not in NEED_MORE
]


@pytest.mark.parametrize("name", CUTTING)
def test_every_preparer_that_cuts_says_so(name, tmp_path):
    if name.startswith("text."):
        short, long, longer = "a b", LONG_TEXT, f"{LONG_TEXT} {LONG_TEXT}"
    else:
        short, long, longer = (sound(tmp_path / f"{s}.wav", s) for s in (LONGEST_S, 4 * LONGEST_S, 8 * LONGEST_S))
    preparer = preparer_of(name).fit([short, long, longer])
    told = [one.is_cut for one in prepare_all([short, long, longer], preparer)]
    lengths = [len(one.value) for one in prepare_all([short, long, longer], preparer) if one.value is not None]
    assert told == [False, True, True] if lengths[1] == lengths[2] else told == [False] * 3
    if name != "text.bag_of_words":
        assert any(told) == (lengths[1] == lengths[2])


@pytest.fixture
def clips(tmp_path: Path) -> Table:
    """Thirty clips, two of them of equal content; every second one is too long."""
    for i in range(30):
        sound(tmp_path / f"{i}.wav", LONGEST_S * (0.5 + i / 100 if i % 2 else 2.0 + i / 100))
    (tmp_path / "again.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    cells = [f"{i}.wav" for i in range(30)] + ["again.wav", "", "0.wav"]
    return Table.of([{"clip": cell} for cell in cells], tmp_path)


def frozen(preparer: Preparer) -> Preparer:
    torch.manual_seed(0)
    cls = registry.load(ENCODERS, ENTRY_POINTS, "audio.gru")
    return FeaturePreparer(preparer, cls(cls.Config(max_seconds=LONGEST_S, rate_hz=8000), preparer, 8), "clip")


def read(corpus: Corpus, workers: int) -> Corpus:
    """Read all rows twice, as training does: what is cut is counted once."""
    with Loader(corpus, BatchOrder(corpus.num_rows, 5, 0), workers) as loader:
        for epoch in range(2):
            assert sum(batch.num_rows for batch in loader.epoch(epoch)) == corpus.num_rows
    return corpus


@pytest.mark.parametrize("wrap", [lambda p: p, frozen], ids=["plain", "frozen"])
@pytest.mark.parametrize("several", [None, Several("|", 4)], ids=["one", "several"])
def test_counts_of_cut_clips_depend_on_neither_cache_nor_workers(
    clips: Table, tmp_path: Path, wrap: Callable[[Preparer], Preparer], several: Several | None
):
    def build_corpus(**how: object) -> Corpus:
        spec = InputSpec("clip", wrap(preparer_of("audio.gru")), several)
        return Corpus.build(clips, range(len(clips)), {"clip": spec}, None, **how)  # type: ignore[arg-type]

    ways: dict[str, dict[str, object]] = {
        "memory": {},
        "cold": {"cache": tmp_path / "cache"},
        "warm": {"cache": tmp_path / "cache"},
        "warm, half": {"cache": tmp_path / "other"},
    }
    ways["anew for every batch"] = {"store": "none"}
    if wrap is not frozen:
        ways["anew, workers"] = {"store": "none", "workers": 1}
        ways["workers"] = {"cache": tmp_path / "third", "workers": 1}
    half = Table.of([{"clip": f"{i}.wav"} for i in range(7)], tmp_path)
    spec = InputSpec("clip", wrap(preparer_of("audio.gru")), several)
    Corpus.build(half, range(7), {"clip": spec}, None, cache=tmp_path / "other")
    counts = {name: read(build_corpus(**how), int(how.get("workers", 0))).left_out for name, how in ways.items()}  # type: ignore[call-overload]
    right = {"rows without clip": 1, "rows without any input": 1, "clip items cut to their longest length": 16}
    for name, found in counts.items():
        assert found.facts() == right, name


def test_rows_in_memory_say_which_inputs_were_cut():
    preparer = preparer_of("text.gru").fit([LONG_TEXT])
    samples = [Sample(str(i), {"text": text}, None) for i, text in enumerate(["a b", LONG_TEXT, None, LONG_TEXT])]
    corpus = Corpus.from_samples(samples, {"text": preparer})
    assert [corpus.inputs["text"].is_cut(i) for i in range(4)] == [False, True, False, True]
    assert corpus.left_out.facts() == {"text items cut to their longest length": 1}
    assert num_cut(preparer) == 1


def test_rows_without_target_and_cut_targets_are_told_with_all_rows(tmp_path):
    table = Table.of([{"a": "x", "b": ""}, {"a": "x", "b": "one two three"}, {"a": "", "b": "one"}], tmp_path)
    inputs = {"a": InputSpec("a", preparer_of("text.gru").fit(["x"]))}
    target = TargetSpec("b", build("word").fit(["one two three"]), 2)
    corpus = Corpus.build(table, range(3), inputs, target)
    assert corpus.left_out.clauses() == [
        "1 of 3 rows without target",
        "1 of 3 rows without any input",
        "1 target cut short",
        "1 of 3 rows without a",
    ]


def test_unreadable_rows_of_a_whole_table_are_among_all_rows(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": "x"}\n' * 200 + "{no json\n")
    table = Table.open("t.jsonl", tmp_path)
    inputs = {"a": InputSpec("a", preparer_of("text.gru").fit(["x"]))}
    assert str(Corpus.build(table, range(200), inputs, None).left_out) == "1 of 201 rows that could not be read"
    assert not Corpus.build(table, range(100), inputs, None).left_out


def test_clauses_of_answers():
    assert not omitted([(), ()])
    assert str(omitted([("a",), (), ("a", "b")], 1)) == (
        "2 a items cut to their longest length, 1 b item cut to its longest length, "
        "1 of 4 rows that could not be read"
    )
    assert Omissions(5, {"rows without target": 0}).facts() == {}
