"""`sensorium vectors` as a user meets it."""

import json

import pytest
from typer.testing import CliRunner

from sensorium.cli.main import app
from sensorium.core.errors import ConfigError, DataError, UsageError

run = CliRunner().invoke


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a red circle and a red square\na blue circle and a blue square\nrare\n" * 30)
    return path


@pytest.mark.parametrize("name", ["words.txt", "words.bin"])
def test_vectors_are_learned_written_and_asked(name, text, tmp_path):
    out = tmp_path / name
    words = ["vectors", "train", str(text), "--out", str(out), "--width", "8", "--epochs", "2", "--json"]
    done = run(app, words)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["words"], facts["width"], facts["method"]) == (7, 8, "skip_gram")
    first = out.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        run(app, words, catch_exceptions=False)
    assert run(app, [*words, "--force"]).exit_code == 0
    assert out.read_bytes() == first, "equal seeds give equal vectors"
    found = json.loads(run(app, ["vectors", "nearest", str(out), "red", "-n", "3", "--json"]).stdout)["words"]
    assert len(found) == 3
    assert "red" not in {entry["word"] for entry in found}
    done = run(app, ["vectors", "analogy", str(out), "red", "blue", "circle", "-n", "2"])
    assert len(done.stdout.splitlines()) >= 3


def test_bad_requests_are_refused(text, tmp_path):
    out = tmp_path / "w.txt"
    with pytest.raises(ConfigError, match="method"):
        run(app, ["vectors", "train", str(text), "--out", str(out), "--method", "cow"], catch_exceptions=False)
    run(app, ["vectors", "train", str(text), "--out", str(out), "--width", "4", "--epochs", "1"])
    with pytest.raises(DataError, match="did you mean 'blue'"):
        run(app, ["vectors", "nearest", str(out), "blues"], catch_exceptions=False)
    with pytest.raises(DataError, match="cannot be read"):
        run(
            app,
            ["vectors", "train", str(tmp_path / "none.txt"), "--out", str(tmp_path / "x")],
            catch_exceptions=False,
        )
