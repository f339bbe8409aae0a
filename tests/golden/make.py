"""Make the golden runs: small run folders of the formats of one day, with what their models answered then.

    python tests/golden/make.py FOLDER

Enters: a folder that is not there yet.  Leaves in it: data/ (what is asked about) and a run folder for each config,
each packed beside it as NAME.zip, and answers.json: the texts, probabilities and log-probabilities that
`test_golden.py` expects of them for ever.  Run it with the program whose formats are to be kept, and never again for
the same formats: a run made anew proves nothing.  The folder should have a neutral name, since a run's config names
its tables by absolute paths.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_configs import RUNS
from PIL import Image

import sensorium
from sensorium import Sensorium
from sensorium.core.types import Sample
from sensorium.data.corpus import Corpus
from sensorium.data.synthesis.speech import write_wav
from sensorium.model.saving import load_pretrainer
from sensorium.training.progress import Silent
from sensorium.workflow.predictor import load_predictors
from sensorium.workflow.pretraining import pretrain
from sensorium.workflow.tasks_config import load_any

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
RATE_HZ = 8000
PITCH_HZ = {"a": 500, "b": 1000, "c": 2000}
LESSON = "a zebra in red"

Row = dict[str, str]


def main(folder: Path) -> None:
    """Train every run in `folder` and write down what it answers."""
    data = folder / "data"
    data.mkdir(parents=True)
    _write_data(data)
    answers: dict[str, Any] = {}
    for name, text in RUNS.items():
        (data / f"{name}.toml").write_text(text, encoding="utf-8")
        config, run = load_any(data / f"{name}.toml"), folder / name
        if name == "pretraining":
            pretrain(config, out=run, progress=Silent())
            answers[name] = features_of(run, data)
        else:
            model = Sensorium(config).fit(run, progress=Silent())
            if name == "lesson":
                _taught(model, run)
            answers[name] = answers_of(run, data)
        if name != "holes":  # one keeps what a resumed run goes on from
            shutil.rmtree(run / "checkpoints")
    shutil.rmtree(data / "lm")
    for path in data.glob("*.toml"):
        path.unlink()
    for sound in list(data.glob("*.wav")):
        if sound.stem not in ("0", "1"):
            sound.unlink()
    (folder / "answers.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False), encoding="utf-8")
    for name in ("data", *RUNS):
        shutil.make_archive(str(folder / name), "zip", folder / name)


def answers_of(run: Path, data: Path) -> dict[str, Any]:
    """Ask a run's every task each of its rows; returns texts, probabilities and scores by task."""
    found = {}
    for task, predictor in load_predictors(run).items():
        predictor.folder = data
        if task == "find":
            continue
        rows, targets = ROWS[task or run.name]
        given = [{name: cell for name, cell in row.items() if name in predictor.columns} for row in rows]
        found[task] = {
            "rows": given,
            "predictions": [[one.text, one.probability] for one in predictor.predict(given)],
            "targets": targets,
            "log_probabilities": predictor.score(given, targets),
        }
    return found


def features_of(run: Path, data: Path) -> dict[str, Any]:
    """Encode a photo and a question by a pretrained run; returns the sum of each position's features."""
    model = load_pretrainer(run / "model")
    specs = {name: choice.spec(model.preparers[name]) for name, choice in model.config.inputs.items()}
    cells = {"photo": "1.png", "question": "is it green?"}
    sample = Sample("0", {name: specs[name].preparer.item(cell, data) for name, cell in cells.items()}, None)
    batch = Corpus.from_samples([sample], specs, None).batch(np.arange(1))
    with torch.inference_mode():
        encoded = {name: encoder(batch.inputs[name]) for name, encoder in model.encoders.items()}
    return {name: one.x_BTD.sum(-1).flatten().tolist() for name, one in encoded.items()}


SHAPES = (
    [
        {"photo": "0.png", "question": "is it red?"},
        {"photo": "1.png"},
        {"question": "is it blue?"},
        {"photo": "2.png", "question": "what color is it?"},
    ],
    ["yes", "green", "no", "blue"],
)
CAPTIONS = ([{"photo": "0.png"}, {"photo": "2.png"}], ["a box in red", "the door in blue"])
ROWS: dict[str, tuple[list[Row], list[str]]] = {
    "holes": SHAPES,
    "answer": SHAPES,
    "ask": ([{"photo": "0.png"}, {"photo": "1.png"}], ["is it red?", "what color is it?"]),
    "ctc": ([{"sound": "0.wav"}, {"sound": "1.wav"}], ["ab", "c"]),
    "crf": (
        [{"tokens": "Ann￨NNP visits￨VB Rome￨NNP"}, {"tokens": "Oslo￨NNP Rome￨NNP visits￨VB Paris￨NNP"}],
        ["S-PER O S-LOC", "B-PER E-PER O S-LOC"],
    ),
    "lesson": ([*CAPTIONS[0], {"photo": "0.png"}], [*CAPTIONS[1], LESSON]),
    "published": CAPTIONS,
}


def _taught(model: Sensorium, run: Path) -> None:
    from sensorium.workflow.lessons import write_lessons

    model.teach(LESSON, source="zoo", weight=5)
    write_lessons(model.predictor.lessons, run / "model")


def _write_data(folder: Path) -> None:
    shapes, captions = [], []
    for i in range(12):
        colour = list(COLOURS)[i % 3]
        Image.new("RGB", (8, 8), tuple(part + i for part in COLOURS[colour])).save(folder / f"{i}.png")
        for asked in COLOURS:
            shapes.append((f"{i}.png", f"is it {asked}?", "yes" if asked == colour else "no"))
        shapes.append(("" if i % 5 == 3 else f"{i}.png", "" if i % 5 == 4 else "what color is it?", colour))
        captions.append((f"{i}.png", f"{('a box', 'the door', 'a zebra')[i // 3 % 3]} in {colour}"))
    _write_table(folder / "shapes.csv", ("photo", "question", "answer"), shapes)
    _write_table(folder / "captions.csv", ("photo", "caption"), captions)
    rng = random.Random(0)
    texts = ["ab", "c"] + ["".join(rng.choices("abc", k=rng.randrange(1, 4))) for _ in range(78)]
    for i, text in enumerate(texts):
        write_wav(folder / f"{i}.wav", tones(text), RATE_HZ)
    _write_table(folder / "tones.csv", ("sound", "text"), [(f"{i}.wav", text) for i, text in enumerate(texts)])
    (folder / "tags.txt").write_text("".join("\n".join(_sentence(rng)) + "\n\n" for _ in range(60)))
    _save_published(folder / "lm")


def _save_published(folder: Path) -> None:
    import transformers

    sys.path.insert(0, str(Path(__file__).parents[1] / "language"))
    from published_writers import END, save_tokenizer

    size = save_tokenizer(folder, END)
    torch.manual_seed(0)
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 32}
    network = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=size, bos_token_id=0, eos_token_id=0, **shape)
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "ln_" not in name:  # the usual 0.02 says next to nothing
                parameter.normal_(std=0.3)
    network.save_pretrained(folder)


def _write_table(path: Path, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def tones(text: str) -> np.ndarray:
    """Say letters as tones of 60 ms with 40 ms of silence behind each."""
    time_N = np.arange(int(0.06 * RATE_HZ)) / RATE_HZ
    silence_N = np.zeros(int(0.04 * RATE_HZ))
    said = [piece for letter in text for piece in (0.3 * np.sin(2 * np.pi * PITCH_HZ[letter] * time_N), silence_N)]
    return np.concatenate([silence_N, *said]).astype(np.float32)


def _sentence(rng: random.Random) -> list[str]:
    names, places = ["Ann", "Bob"], ["Oslo", "Rome"]
    second = ["Rome NNP I-PER"] if rng.random() < 0.5 else []
    return [f"{rng.choice(names + places)} NNP B-PER", *second, "visits VB O", f"{rng.choice(places)} NNP B-LOC"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    print(sensorium.__file__)
