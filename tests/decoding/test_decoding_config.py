import pytest
import torch
from markov import MarkovTable, topics

from sensorium.core.errors import ConfigError
from sensorium.core.registry import load
from sensorium.core.vocabulary import EOS, UNK
from sensorium.decoding.beam import Beam
from sensorium.decoding.config import DecodingConfig, build
from sensorium.decoding.registry import ENTRY_POINTS, SEARCHES
from sensorium.decoding.search import Greedy, Sample


def test_each_search_reads_its_settings():
    assert build(DecodingConfig()).search == Greedy()
    sample = DecodingConfig(search="sample", temperature=0.5, top_k=3, top_p=0.9, seed=7)
    assert build(sample).search == Sample(temperature=0.5, top_k=3, top_p=0.9, seed=7)
    beam = DecodingConfig(search="beam", beam_width=6, length_penalty=1, n_best=2, early_stopping=True)
    assert build(beam).search == Beam(width=6, length_penalty=1, n_best=2, early_stopping=True)


@pytest.mark.parametrize("name", SEARCHES)
def test_every_registered_search_generates(name):
    search = load(SEARCHES, ENTRY_POINTS, name)
    assert search.from_config(DecodingConfig(search=name)) == search()
    decoder = build(DecodingConfig(search=name, max_tokens=6, min_tokens=2))
    found = decoder(MarkovTable(5), topics(0, 1, 2))
    assert found.token_BT.shape[1] <= 6
    assert (found.mask_BT.sum(1) > 2).all()
    assert not (found.token_BT == UNK).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search": "beam", "temperature": 0.5}, "'temperature' is read by search = 'sample' only"),
        ({"beam_width": 8}, "'beam_width' is read by search = 'beam' only"),
        ({"search": "beam", "n_best": 9}, "more than beam_width"),
        ({"min_tokens": 64}, "no room"),
        ({"top_p": 0}, "greater than 0"),
        ({"beam_with": 4}, "did you mean 'beam_width'"),
    ],
    ids=str,
)
def test_settings_that_nothing_reads_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DecodingConfig.parse(settings)


def test_an_unknown_search_suggests_the_near_one():
    with pytest.raises(ConfigError, match="did you mean 'greedy'"):
        build(DecodingConfig(search="greedi"))


def test_allowed_texts_and_penalties_work_together():
    config = DecodingConfig(search="beam", no_repeat_ngram=1, repetition_penalty=1.3, max_tokens=5)
    found = build(config, allowed=[(4, 4), (5, 6)])(MarkovTable(4), topics(0, 1))
    assert found.token_BT.tolist() == [[5, 6, EOS]] * 2, "the other answer repeats a word"
    assert torch.isfinite(found.total_B).all()
