"""Answering and scoring a corpus: each batch conditioned once, and the same figures however it is cut."""

import copy

import pytest
import torch

from sensorium.core.errors import OutOfMemoryError
from sensorium.decoding.config import DecodingConfig
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


def test_patterns_stop_in_time_and_say_of_how_many_rows_they_are(prepared):
    asked = {"answers": prepared.answers, "decoding": DecodingConfig(), "batch_rows": 8 * 5}
    found = evaluate_missing(prepared.model, prepared.task, prepared.validation, seconds=0.0, **asked)
    assert {result.evaluation.num_rows for result in found} == {8}
    first = evaluate_missing(prepared.model, prepared.task, prepared.validation, max_rows=8, **asked)
    for stopped, whole in zip(found, first, strict=True):
        assert stopped.evaluation.metrics == pytest.approx(whole.evaluation.metrics, rel=1e-5)
