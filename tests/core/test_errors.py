"""Errors: one sentence, one exit code, and they survive the way between processes."""

import pickle

import pytest

from sensorium.core import errors
from sensorium.core.errors import ConfigError, DataError, MediaError, SensoriumError

EVERY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SensoriumError)]


def test_the_sentence_says_what_where_and_what_to_do():
    error = MediaError("JPEG ends at 41 %", where="train.csv:812 photo 'a.jpg'", advice="see `sensorium check`")
    assert str(error) == "train.csv:812 photo 'a.jpg': JPEG ends at 41 % (see `sensorium check`)"
    assert str(DataError("is empty")) == "is empty"


def test_a_place_is_added_in_front():
    error = MediaError("is empty", where="photo 'a.jpg'").at("train.csv:812")
    assert isinstance(error, MediaError)
    assert str(error) == "train.csv:812 photo 'a.jpg': is empty"
    assert str(DataError("is empty").at("x.csv")) == "x.csv: is empty"


@pytest.mark.parametrize("kind", EVERY)
def test_errors_cross_process_borders(kind):
    error = kind("what", where="where", advice="advice")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.what, copy.where, copy.advice, str(copy)) == ("what", "where", "advice", str(error))


def test_exit_codes_are_those_of_the_manual():
    codes = {kind.__name__: kind.exit_code for kind in EVERY}
    assert codes["UsageError"] == codes["ConfigError"] == codes["MissingExtraError"] == 2
    assert codes["DataError"] == codes["MediaError"] == 3
    assert (codes["ModelError"], codes["DiskError"], codes["OutOfMemoryError"], codes["LockedError"]) == (
        4,
        5,
        6,
        7,
    )
    assert issubclass(ConfigError, errors.UsageError)
