"""Answering and scoring a corpus: each batch conditioned once, and the same figures however it is cut."""

import copy

import pytest
import torch

from sensorium.core.errors import OutOfMemoryError
from sensorium.decoding.config import DecodingConfig
from sensorium.evaluation.answered import _chunks_in_time
from sensorium.evaluation.missing import evaluate_missing
from sensorium.evaluation.runner import evaluate, mean_nll
from sensorium.language import pieces
from sensorium.workflow.config import load_config
from sensorium.workflow.prepare import prepare


@pytest.fixture(scope="module")
def prepared(shapes_folder, tmp_path_factory):
    changes = ("language.scorers=['transformer', 'ngram']", "language.mix='product'")
    found = prepare(load_config(shapes_folder / "shapes.toml", changes), tmp_path_factory.mktemp("run"))
    torch.manual_seed(0)
    found.model.fit_counts(found.train.targets())
    return found


def judged(prepared, *, answers=True, many=False, **options):
    task = copy.copy(prepared.task)
    task.many_references = many
    closed = prepared.answers if answers else None
    return evaluate(
        prepared.model, task, prepared.validation, answers=closed, decoding=DecodingConfig(max_tokens=5), **options
    )


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("many", [True, False])
def test_batches_and_bounds_of_memory_change_nothing(prepared, monkeypatch, answers, many):
    whole = judged(prepared, answers=answers, many=many)
    words = len(prepared.model.vocab)
    for batch_rows, most in ((7, 1 << 24), (512, 3 * words), (512, 1)):
        monkeypatch.setattr(pieces, "MOST_NUMBERS", most)
        cut = judged(prepared, answers=answers, many=many, batch_rows=batch_rows)
        assert cut.metrics == pytest.approx(whole.metrics, rel=1e-5)
        assert [(row, p.text, refs) for row, p, refs in cut.predictions] == [
            (row, p.text, refs) for row, p, refs in whole.predictions
        ]
        assert mean_nll(prepared.model, prepared.validation, batch_rows) == pytest.approx(
            mean_nll(prepared.model, prepared.validation), rel=1e-5
        )


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("many", [True, False])
def test_a_batch_is_encoded_once(prepared, monkeypatch, answers, many):
    encoded = dict.fromkeys(prepared.model.encoders, 0)
    for name, encoder in prepared.model.encoders.items():
        encoder.register_forward_hook(lambda *_, name=name: encoded.update({name: encoded[name] + 1}))
    judged(prepared, answers=answers, many=many, max_rows=12)
    assert encoded == dict.fromkeys(encoded, 1)


def test_patterns_are_what_each_gives_alone(prepared):
    shown = evaluate_missing(
        prepared.model,
        prepared.task,
        prepared.validation,
        answers=prepared.answers,
        decoding=DecodingConfig(),
        batch_rows=24,
    )
    for result in shown:
        alone = judged(prepared, only=frozenset(result.inputs))
        assert result.evaluation.metrics == pytest.approx(alone.metrics, rel=1e-5)


def test_who_waits_is_told_how_far_it_is(prepared):
    told = []
    judged(prepared, batch_rows=10, advance=lambda done, total: told.append((done, total)))
    num_rows = prepared.validation.num_rows
    assert told[-1] == (num_rows, num_rows)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_memory_that_runs_out_names_the_key_of_judging(prepared, monkeypatch):
    def condition(batch):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(prepared.model, "_condition", condition)
    for judge in (lambda: judged(prepared), lambda: mean_nll(prepared.model, prepared.validation)):
        with pytest.raises(OutOfMemoryError, match=r"lower evaluation\.batch_rows"):
            judge()


class Clock:
    """Tells what has been set."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


def chunks_in(seconds, *, seconds_a_row, num_requests=300, most=64):
    clock, found = Clock(), []
    for chunk in _chunks_in_time([[i] for i in range(num_requests)], most, seconds, clock):
        found.append([row for request in chunk for row in request])
        clock.time += seconds_a_row * len(chunk)
    return found, clock.time


def test_time_is_kept_by_judging_fewer_rows_which_are_drawn():
    found, taken = chunks_in(10.0, seconds_a_row=0.1)
    rows = [row for chunk in found for row in chunk]
    assert 90 <= len(rows) == len(set(rows)) <= 100
    assert taken <= 10.0
    assert max(rows) > 250  # of all the table, not its first ones
    assert rows == [row for chunk in chunks_in(5.0, seconds_a_row=0.05)[0] for row in chunk]


def test_rows_that_fit_are_cut_alike_on_every_machine():
    cuts = [chunks_in(1000.0, seconds_a_row=s)[0] for s in (0.001, 0.1, 1.0)]
    assert cuts[0] == cuts[1] == cuts[2]
    assert sorted(row for chunk in cuts[0] for row in chunk) == list(range(300))
    assert [len(chunk) for chunk in cuts[0][:8]] == [1, 2, 4, 8, 16, 32, 64, 64]


def test_one_row_is_judged_however_long_it_takes():
    assert [len(chunk) for chunk in chunks_in(0.0, seconds_a_row=5.0)[0]] == [1]


def test_enough_time_changes_nothing(prepared):
    whole, timed = judged(prepared), judged(prepared, seconds=1e6)
    assert timed.metrics == pytest.approx(whole.metrics, rel=1e-5)
    assert [(row, p.text) for row, p, _ in timed.predictions] == [(row, p.text) for row, p, _ in whole.predictions]
    assert list(timed.likelihoods) == list(whole.likelihoods)
    assert timed.num_unjudged == 0
    assert timed.left_out == whole.left_out


def test_what_there_was_no_time_for_is_counted_and_said(prepared):
    cut = judged(prepared, seconds=0.0)
    num_rows = prepared.validation.num_rows
    assert (cut.num_rows, cut.num_unjudged) == (1, num_rows - 1)
    assert f"{num_rows - 1} of {cut.left_out.num_rows} rows not judged, since there was no time" in str(
        cut.left_out
    )
    whole = {row: p.text for row, p, _ in judged(prepared).predictions}
    assert [(row, p.text) for row, p, _ in cut.predictions] == [(row, whole[row]) for row in cut.rows]


def test_patterns_stop_in_time_and_say_of_which_rows_they_are(prepared):
    asked = {"answers": prepared.answers, "decoding": DecodingConfig(), "batch_rows": 8 * 5}
    found = evaluate_missing(prepared.model, prepared.task, prepared.validation, seconds=0.0, **asked)
    assert {result.evaluation.num_rows for result in found} == {1}
    for result in found:
        [row] = result.evaluation.rows
        alone = judged(prepared, only=frozenset(result.inputs))
        said = {number: p.text for number, p, _ in alone.predictions}
        assert [p.text for _, p, _ in result.evaluation.predictions] == [said[row]]
