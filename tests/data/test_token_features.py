"""Token features: templates by definition, boundaries, round trip, bad input."""

from pathlib import Path

import pytest
import torch

from sensorium.core.errors import ConfigError, DataError, ModelError
from sensorium.data.token_features import UNSEEN, TokenFeaturesPreparer, parse_template, shape
from sensorium.data.tokenizers.tag import TagTokenizer
from sensorium.evaluation.metrics_span import span_f1, token_accuracy

TEXTS = ["He￨PRP reckons￨VBZ", "the￨DT deficit￨NN widened￨VBD"]


def names(preparer: TokenFeaturesPreparer, text: str) -> list[list[str]]:
    every = ["?", *preparer.features]
    return [[every[i] for i in row] for row in preparer(text).tolist()]


def test_features_are_what_the_templates_say():
    templates = ["0[0]", "0[-1]|1[0]", "1[1]", "0.suffix2[0]", "0.lower[0]", "0.shape[-2]"]
    preparer = TokenFeaturesPreparer(templates).fit(TEXTS)
    assert names(preparer, TEXTS[1]) == [
        ["0:the", "1:<-1>￨DT", "2:NN", "3:he", "4:the", "5:<-2>"],
        ["0:deficit", "1:the￨NN", "2:VBD", "3:it", "4:deficit", "5:<-1>"],
        ["0:widened", "1:deficit￨VBD", "2:<+1>", "3:ed", "4:widened", "5:x"],
    ]
    unseen = preparer("He￨NN")
    assert unseen.dtype == torch.int32
    assert unseen[0, 1] == UNSEEN
    assert preparer.unknown == 1


@pytest.mark.parametrize("length", [1, 2, 3, 5])
@pytest.mark.parametrize("offset", [-3, -1, 0, 1, 3])
def test_offsets_beyond_the_sentence_say_how_far(length, offset):
    tokens = [f"t{i}" for i in range(length)]
    preparer = TokenFeaturesPreparer([f"0[{offset}]"]).fit([" ".join(tokens)])
    for i, row in enumerate(names(preparer, " ".join(tokens))):
        at = i + offset
        outside = f"<{at}>" if at < 0 else f"<+{at - length + 1}>"
        assert row == [f"0:{tokens[at] if 0 <= at < length else outside}"]


def test_rare_features_are_left_out_and_counted():
    preparer = TokenFeaturesPreparer(["0[0]"], min_count=2).fit(["a a b"])
    assert preparer.features == ["0:a"]
    assert preparer.num_left_out == 1
    assert preparer("a b").tolist() == [[1], [UNSEEN]]


def test_long_texts_are_cut_and_counted():
    preparer = TokenFeaturesPreparer(["0[1]"], max_tokens=2).fit(["a b c"])
    assert names(preparer, "a b c") == [["0:b"], ["0:c"]]
    assert preparer.truncated == 1


def test_collate_pads_and_saving_keeps_everything(tmp_path):
    preparer = TokenFeaturesPreparer(["0[0]", "1[0]"]).fit(TEXTS)
    id_UTF, mask_UT = preparer.collate([preparer(text) for text in TEXTS])
    assert id_UTF.shape == (2, 3, 2)
    assert mask_UT.tolist() == [[True, True, False], [True] * 3]
    assert preparer.collate([])[0].shape == (0, 0, 2)
    preparer.save(tmp_path)
    again = TokenFeaturesPreparer(["0[0]", "1[0]"]).load(tmp_path)
    assert again.fingerprint == preparer.fingerprint
    assert torch.equal(again(TEXTS[0]), preparer(TEXTS[0]))


@pytest.mark.parametrize("template", ["", "0", "0[x]", "0.upper[0]", "0[0]||1[0]", "w[0]"])
def test_bad_templates_are_refused(template):
    with pytest.raises(ConfigError, match="no term of a template"):
        parse_template(template)


def test_bad_texts_and_files_are_refused(tmp_path):
    preparer = TokenFeaturesPreparer(["1[0]"])
    with pytest.raises(ModelError, match="not fitted yet"):
        preparer("a￨b")
    with pytest.raises(DataError, match=r"token 'plain' has 1 factors"):
        preparer.fit(["a￨b plain"])
    with pytest.raises(DataError, match="no token"):
        preparer.fit([])
    with pytest.raises(ModelError, match="no readable features"):
        preparer.load(tmp_path)
    assert preparer.item("  ", Path()) is None


def test_shapes():
    assert [shape(word) for word in ("McDonald", "1,234.5", "U.S.", "the")] == ["XxXx", "d,d.d", "X.X.", "x"]


def test_blanks_and_tabs_alone_part_tokens():
    text = "10\u00a0000 Euro\t\u6771\u4eac\u3000\u99c5 a\u2028b\x85c"
    preparer = TokenFeaturesPreparer(["0[0]"]).fit([text])
    assert preparer.tokens(text) == ["10\u00a0000", "Euro", "\u6771\u4eac\u3000\u99c5", "a\u2028b\x85c"]
    assert preparer(text).shape == (4, 1)
    tags = TagTokenizer().fit(["B-M\u00a0x I-M\tO O"])
    assert len(tags.encode("B-M\u00a0x I-M\tO O")) == 4
    assert span_f1(["B-M\u00a0x O"], ["B-M\u00a0x O"]) == token_accuracy(["B-M\u00a0x O"], ["B-M\u00a0x O"]) == 1.0
