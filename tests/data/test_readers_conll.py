"""CoNLL column files as rows of sentences."""

import pytest

from sensorium.core.errors import DataError
from sensorium.data.quarantine import Quarantine
from sensorium.data.table import Table

TEXT = "-DOCSTART- -X- O\n\nHe PRP B-NP\nreckons VBZ B-VP\n\n\n# # B-NP\n1.8 CD I-NP\n"


def table(tmp_path, text, **options):
    (tmp_path / "train.txt").write_text(text, encoding="utf-8")
    return Table.open("conll:train.txt", tmp_path, **options)


def test_a_sentence_is_a_row(tmp_path):
    found = table(tmp_path, TEXT)
    assert found.columns == ("words", "pos", "chunk", "tags", "tokens")
    assert [found.row(i) for i in range(len(found))] == [
        {"words": "He reckons", "pos": "PRP VBZ", "chunk": "B-NP B-VP", "tags": "B-NP B-VP",
         "tokens": "He￨PRP reckons￨VBZ"},
        {"words": "# 1.8", "pos": "# CD", "chunk": "B-NP I-NP", "tags": "B-NP I-NP", "tokens": "#￨# 1.8￨CD"},
    ]  # fmt: skip
    assert found.where(1) == "train.txt:7"


def test_other_numbers_of_columns(tmp_path):
    assert table(tmp_path, "a O\nb B\n").row(0) == {"words": "a b", "pos": "O B", "tags": "O B", "tokens": "a b"}
    assert table(tmp_path, "EU NNP I-NP B-ORG\n").row(0)["tags"] == "B-ORG"


def test_a_ragged_sentence_is_named_and_set_aside(tmp_path):
    quarantine = Quarantine(0.6)
    found = table(tmp_path, "He PRP B-NP\n\nso far\n\nshe PRP B-NP\n", quarantine=quarantine)
    assert len(found) == 2
    with pytest.raises(DataError, match=r"train\.txt:3.*token 1 has 2 columns, not 3"):
        table(tmp_path, "He PRP B-NP\n\nso far\n")


@pytest.mark.parametrize(
    ("text", "fault"), [("", "no sentence"), ("\n\n", "no sentence"), ("a\nb\n", "one column")]
)
def test_files_without_tags_are_refused(tmp_path, text, fault):
    with pytest.raises(DataError, match=fault):
        table(tmp_path, text)


def test_conll2000_has_its_published_size(reference_data):
    found = Table.open("conll:test.txt", reference_data / "text" / "conll2000")
    assert len(found) == 2012
    assert sum(len(words.split()) for words in found.column("words")) == 47_377


def test_blanks_and_tabs_alone_part_columns(tmp_path):
    row = table(tmp_path, "10\u00a0000\tCD\tO\nEuro\tNN\tO\n\n\u6771\u4eac\u3000\u99c5\tNN\tO\n").row
    assert row(0) == {
        "words": "10\u00a0000 Euro",
        "pos": "CD NN",
        "chunk": "O O",
        "tags": "O O",
        "tokens": "10\u00a0000\uffe8CD Euro\uffe8NN",
    }
    assert row(1)["words"] == "\u6771\u4eac\u3000\u99c5"


def test_a_document_begins_a_sentence_without_a_blank_line(tmp_path):
    (tmp_path / "t.txt").write_text("-DOCSTART- O\na B-X\n-DOCSTART- O\nb O\n\nc O\n")
    table = Table.open("conll:t.txt", tmp_path)
    assert list(table.column("words")) == ["a", "b", "c"]
