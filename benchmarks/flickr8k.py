"""Captions of 113 photos after 753: what each scorer adds, and which photo goes with which caption.

    python benchmarks/flickr8k.py                     # recipes/flickr8k.toml, trained once, and its parts
    python benchmarks/flickr8k.py --ask retrieval     # recipes/flickr8k_retrieval.toml: a contrastive head
    python benchmarks/flickr8k.py --ask smollm2       # SmolLM2-135M behind a prefix, on the same features

writes results/flickr8k_captions.json, results/flickr8k_retrieval.json or results/flickr8k_smollm2.json

Every row of the table of captions is made of parts of one trained model, weighed anew on the dev photos; these are
also the photos by which the best epoch is chosen, and on which everything is judged.  Intervals are 95 % percentile
bootstraps.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import record

from sensorium.decoding.config import Rescoring
from sensorium.evaluation.intervals import intervals
from sensorium.evaluation.runner import evaluate
from sensorium.language.mixture import Mixture
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.saving import load_model
from sensorium.tasks.registry import default_tokenizers
from sensorium.training.console import console_progress
from sensorium.workflow.config import RunConfig, load_config
from sensorium.workflow.fitting import batches, fit_model
from sensorium.workflow.prepare import Prepared, prepare
from sensorium.workflow.rescoring import tuned

METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "meteor_exact_stem", "rouge_l", "cider_d")
NEURAL = ("transformer", "second", "recurrent")
ROWS = {
    "neural": NEURAL,
    "neural + n-gram": (*NEURAL, "ngram"),
    "neural + memory": (*NEURAL, "neighbours"),
    "neural + n-gram + memory": (*NEURAL, "ngram", "neighbours"),
}
QUOTED = [f"evaluation.metrics={list(METRICS)}".replace("'", '"'), "evaluation.baselines=false"]
RESCORE = Rescoring(by=("transformer", "second"), metric="bleu4")
SMOLLM2 = [
    'language={scorers=["packaged:smollm2-135m"],packaged={dtype="bfloat16",lora={rank=8},'
    'prefix={projector="resampler",tokens=8}}}',
    'target={column="caption",task="caption",keep="seen"}',
    'decoding={search="beam",beam_width=4,length_penalty=0.9,max_tokens=32}',
    "training.epochs=1",
    "training.batch_rows=32",
]


def composed(model: MultimodalLM, names: tuple[str, ...], ready: Prepared, batch_rows: int) -> MultimodalLM:
    """Return a view in which some of the scorers speak, weighed for themselves."""
    view = copy.copy(model)
    mixture = Mixture([model.parts[name] for name in names])
    view._modules = {**model._modules, "scorer": mixture}
    language = model.config.language.model_copy(update={"scorers": names, "weights": None})
    scorers = {name: model.config.scorers[name] for name in names}
    view.config = dataclasses.replace(model.config, language=language, scorers=scorers)
    view.fit_weights(batches(ready.validation, batch_rows))
    return view


def judged(config: RunConfig, ready: Prepared, model: MultimodalLM, decoding: Any) -> dict[str, Any]:
    """Write a caption of every dev photo, and return metrics, bounds, the words a caption, and weights."""
    found = evaluate(
        model,
        ready.task,
        ready.validation,
        answers=None,
        decoding=decoding,
        batch_rows=config.evaluation.batch_rows,
    )
    said = [prediction.text for _, prediction, _ in found.predictions]
    bounds = intervals(found)
    metrics = {name: round(value, 3) for name, value in found.metrics.items()}
    print({name: metrics[name] for name in ("bleu4", "cider_d")}, flush=True)
    return {
        "metrics": metrics,
        "intervals": {name: [round(bound, 3) for bound in pair] for name, pair in bounds.items()},
        "words": round(sum(len(text.split()) for text in said) / len(said), 2),
        "seconds": round(found.seconds, 1),
        "weights": dict(zip(model.parts, getattr(model.scorer, "weights", [1.0]), strict=True)),
        "first": said[:3],
    }


def fitted(config: RunConfig, folder: str) -> tuple[Prepared, dict[str, float]]:
    """Train, and say how long each part of it took."""
    began, began_cpu = time.perf_counter(), time.process_time()
    run = Path(folder) / "run"
    run.mkdir()
    ready = prepare(config, run, say=print)
    seconds = {"preparing": time.perf_counter() - began}
    fit = fit_model(config, ready.model, ready.train, ready.validation, run, progress=console_progress())
    whole = {"all": time.perf_counter() - began, "processor": time.process_time() - began_cpu}
    return ready, {name: round(value, 1) for name, value in (seconds | fit.seconds | whole).items()}


def captions(config: RunConfig, folder: str) -> dict[str, Any]:
    """Train the recipe, or take a model that it trained, and judge its parts together and apart."""
    if (Path(folder) / "model").is_dir():
        model, _ = load_model(Path(folder) / "model", default_tokenizer=default_tokenizers())
        ready, seconds = dataclasses.replace(prepare(config), model=model), {}
    else:
        ready, seconds = fitted(config, folder)
    plain = config.decoding.model_copy(update={"consensus": None})
    table = {}
    for label, names in ROWS.items():
        print(label, flush=True)
        view = composed(ready.model, names, ready, config.evaluation.batch_rows)
        table[label] = judged(config, ready, view, plain)
    table["the recipe: + consensus"] = judged(config, ready, ready.model, config.decoding)
    again = tuned(plain.model_copy(update={"rescore": RESCORE}), ready.model, ready.task, ready.validation)
    table["rescoring instead, tuned on these photos"] = judged(config, ready, ready.model, again)
    return {"seconds": seconds, "table": table}


def one(config: RunConfig, folder: str) -> dict[str, Any]:
    """Train and judge one model as it is."""
    ready, seconds = fitted(config, folder)
    return {"seconds": seconds, **judged(config, ready, ready.model, config.decoding)}


def retrieval(config: RunConfig, folder: str) -> dict[str, Any]:
    """Train the contrastive head, and let photos find captions and captions photos."""
    ready, seconds = fitted(config, folder)
    found = evaluate(ready.model, ready.task, ready.validation, answers=None, decoding=config.decoding)
    return {"seconds": seconds, "metrics": {name: round(value, 4) for name, value in found.metrics.items()}}


ASKED = {
    "captions": (captions, "flickr8k", QUOTED),
    "retrieval": (retrieval, "flickr8k_retrieval", []),
    "smollm2": (one, "flickr8k", [*QUOTED, *SMOLLM2]),
}


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ask", choices=ASKED, default="captions")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE changes to the recipe")
    parser.add_argument("--run", help="a finished run of the recipe, whose captions are judged; None trains")
    args = parser.parse_args()
    measure, recipe, changes = ASKED[args.ask]
    config = load_config(record.ROOT / "recipes" / f"{recipe}.toml", [*changes, *args.set])
    with tempfile.TemporaryDirectory() as folder:
        facts = measure(config, args.run or folder)
    record.write(f"flickr8k_{args.ask}", {"changes": args.set, **facts})


if __name__ == "__main__":
    main()
