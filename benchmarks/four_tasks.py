"""One model that captions, answers, classifies and retrieves, beside four models of one task each.

Generated scenes with photo, typed and spoken question, caption and label; test scenes are new, and test voices too.
Every single-task model is the joint config with one task left in it, and sees as many batches of its task as the
joint model does.

python benchmarks/four_tasks.py --rows 3500 --epochs 20        writes results/four_tasks.json
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import record

from sensorium.core.config import Source
from sensorium.training.progress import Silent
from sensorium.workflow.tasks_config import parse_any
from sensorium.workflow.tasks_train import TasksResult, train_any

MAIN_METRIC = {"caption": "bleu4", "answer": "accuracy", "classify": "accuracy", "retrieve": "recall_at_1"}
POINTS = {"bleu4": 1.0, "accuracy": 100.0, "recall_at_1": 100.0}
SCORER = {"scorers": ["transformer"], "transformer": {"layers": 2, "width": 64, "heads": 4}}
TASKS: dict[str, dict[str, Any]] = {
    "caption": {"inputs": ["photo"], "target": {"column": "caption"}},
    "answer": {"inputs": ["photo", "question", "speech"], "target": {"column": "answer"}},
    "classify": {"inputs": ["photo"], "target": {"column": "label"}},
    "retrieve": {"inputs": ["photo", "caption"]},
}


def config(args: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    read = {name for task in names for name in TASKS[task]["inputs"]}
    inputs = {
        "photo": {"modality": "image", "encoder": "cnn", "size": 32, "channels": [32, 64, 64], "grid": 4},
        "question": {"modality": "text", "encoder": "gru"},
        "speech": {"modality": "audio", "encoder": "cnn", "channels": [32, 64, 64], "max_seconds": 3.0},
        "caption": {"modality": "text", "encoder": "gru"},
    }
    return {
        "data": {"train": "scenes.csv", "split_column": "split", "validation_fraction": 0.1, "cache": "cache"},
        "inputs": {name: section for name, section in inputs.items() if name in read},
        "fusion": {"width": 64},
        "language": SCORER,
        "tasks": {name: TASKS[name] for name in names},
        "evaluation": {"baselines": False},
        "training": {
            "epochs": args.epochs,
            "batch_rows": 64,
            "learning_rate": 0.003,
            "seed": args.seed,
            "task_weights": args.weights,
        },
    }


def run(args: argparse.Namespace, scenes: Path, out: Path, names: list[str]) -> dict[str, Any]:
    parsed = parse_any(config(args, names), Source(), folder=scenes, name="-".join(names))
    result = train_any(parsed, out=out / "-".join(names), progress=Silent(), say=print)
    assert isinstance(result, TasksResult)
    summary = result.summary()
    main = {name: POINTS[m := MAIN_METRIC[name]] * summary["metrics"][f"{name}/{m}"] for name in names}
    weights = (out / "-".join(names) / "model" / "weights.safetensors").stat().st_size
    report = result.fitted.report
    facts = {"points": main, "training_s": result.fitted.seconds, "weights_bytes": weights}
    if report is not None:
        facts |= {"steps": report.num_steps, "best_step": report.best_step}
    print(facts, flush=True)
    return facts | {"metrics": summary["metrics"], "loss_weights": summary["loss_weights"]}


def write_scenes(folder: Path, rows: int) -> Path:
    from sensorium.data.synthesis.scene_table import SceneOptions, write_scenes

    write_scenes(folder, rows, seed=0, options=SceneOptions(size=32, speech="question"))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3500)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", choices=["fixed", "uncertainty"], default="fixed")
    parser.add_argument(
        "--scenes", type=Path, help="a folder that `sensorium synth scenes` wrote; made if not given"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scenes = args.scenes or write_scenes(Path(scratch) / "scenes", args.rows)
        joint = run(args, scenes, Path(scratch), list(TASKS))
        single = {name: run(args, scenes, Path(scratch), [name]) for name in TASKS}
    lost = {name: single[name]["points"][name] - joint["points"][name] for name in TASKS}
    record.write("four_tasks", {"lost_points": lost, "joint": joint, "single": single})


if __name__ == "__main__":
    main()
