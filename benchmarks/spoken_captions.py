"""Word errors of read captions with and without the n-gram, by voices known from training and by others.

    python benchmarks/spoken_captions.py              # trains by recipes/spoken_captions.toml first
    python benchmarks/spoken_captions.py --run RUN    # judges a finished run
    python benchmarks/spoken_captions.py --recipe spoken_captions_whisper      # the same rows on Whisper's features

The n-gram is counted on the training captions; the judged captions are of other pictures.  alpha and beta are the
recipe's, which were chosen on validation rows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import record

import sensorium
from sensorium.decoding.config import CTCDecoding
from sensorium.evaluation.runner import evaluate
from sensorium.training.progress import Progress
from sensorium.workflow.api import Sensorium
from sensorium.workflow.config import load_config
from sensorium.workflow.predictor import Predictor
from sensorium.workflow.prepare import Part, build_corpus, open_table
from sensorium.workflow.train import train

RECIPES = record.ROOT / "recipes"
PARTS = {"held-out voices": "test", "known voices": "known-voices"}


def judged(model: Sensorium, part: str, ways: dict[str, CTCDecoding], max_rows: int | None) -> dict[str, Any]:
    """Return WER and CER of one part, each way."""
    import numpy as np

    from sensorium.data.quarantine import Quarantine

    assert model.config is not None
    quarantine = Quarantine(model.config.data.max_bad_fraction)
    spec = model.config.data.train.rsplit("/", 1)[0] + f"/{part}"
    table = open_table(model.config, spec, quarantine)
    predictor: Predictor = model.predictor
    corpus = build_corpus(model.config, predictor.model, Part(table, np.arange(len(table))), quarantine=quarantine)
    found: dict[str, Any] = {}
    for name, ctc in ways.items():
        decoding = predictor.decoding.model_copy(update={"ctc": ctc})
        started = time.perf_counter()
        result = evaluate(
            predictor.model,
            predictor.task,
            corpus,
            answers=None,
            decoding=decoding,
            batch_rows=64,
            max_rows=max_rows,
        )
        seconds = round(time.perf_counter() - started, 1)
        rates = {key: round(result.metrics[key], 4) for key in ("wer", "cer")}
        found[name] = {**rates, "rows": result.num_rows, "seconds": seconds}
        print(part, name, found[name], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--recipe", default="spoken_captions", help="and the name of the result")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--ways", nargs="+", help="of greedy, beam and 'beam + n-gram'; all unless named")
    parser.add_argument("--max-rows", type=int)
    parser.add_argument("--out", type=Path, default=record.RESULTS)
    arguments = parser.parse_args()
    facts: dict[str, Any] = {}
    run = arguments.run
    if run is None:
        from sensorium.training.console import PlainLines

        progress: Progress = PlainLines()
        changes = ["evaluation.baselines=false", "evaluation.max_rows=8"]
        result = train(load_config(RECIPES / f"{arguments.recipe}.toml", changes), progress=progress)
        run, facts["training_seconds"] = result.run, result.fitted.seconds
    model = sensorium.load(run)
    settled = model.predictor.decoding.ctc
    ways = {
        "greedy": settled.model_copy(update={"width": 1}),
        "beam": settled.model_copy(update={"alpha": 0.0, "beta": 0.0}),
        "beam + n-gram": settled,
    }
    ways = {name: way for name, way in ways.items() if name in (arguments.ways or ways)}
    facts["decoding"] = settled.model_dump()
    facts["results"] = {said: judged(model, PARTS[said], ways, arguments.max_rows) for said in arguments.parts}
    held_out = facts["results"].get("held-out voices", {})
    if {"beam", "beam + n-gram"} <= held_out.keys():
        facts["relative_wer_reduction"] = round(1 - held_out["beam + n-gram"]["wer"] / held_out["beam"]["wer"], 3)
    record.write(arguments.recipe, facts, arguments.out)


if __name__ == "__main__":
    main()
