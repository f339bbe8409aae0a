"""Spoken digits of voices never heard: each speaker of FSDD held out in turn, on features of Whisper tiny.en.

python benchmarks/digits_whisper.py [--encoder cnn]      writes results/digits_whisper.json

recipes/digits_whisper.toml as it stands, five times; with `--encoder` the same model and rows with another encoder
of sounds, trained from nothing, writes results/digits_<encoder>_held_out.json.  Nothing is chosen on the held-out
voice.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import record

from sensorium.training.console import console_progress
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train

RECIPE = record.ROOT / "recipes" / "digits_whisper.toml"


def settings(speaker: str, encoder: str | None, cache: str) -> list[str]:
    """Say what differs from the recipe."""
    folder = "fsdd:../../shared/data/fsdd"
    changes = [f'data.train="{folder}/without-{speaker}"', f'data.test="{folder}/only-{speaker}"']
    changes.append(f'data.cache="{cache}"')
    if encoder is not None:
        own = {"modality": "audio", "encoder": encoder}
        changes += [f"inputs={{recording = {{{', '.join(f'{key} = {value!r}' for key, value in own.items())}}}}}"]
    return changes


def main() -> None:
    """Train once a speaker, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", help="another one, trained from nothing")
    args = parser.parse_args()
    present = {path.name.split("_")[1] for path in (record.ROOT.parent / "shared/data/fsdd").glob("*.wav")}
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for speaker in sorted(present):
            config = load_config(RECIPE, settings(speaker, args.encoder, f"{folder}/cache"))
            out = Path(folder) / speaker
            result = train(config, out=out, progress=console_progress())
            report = result.fitted.report
            rows[speaker] = {
                "accuracy": result.evaluation.metrics["accuracy"],
                "rows": result.evaluation.num_rows,
                "training_s": None if report is None else report.elapsed_s,
            }
            print(speaker, rows[speaker], flush=True)
    right = sum(row["accuracy"] * row["rows"] for row in rows.values())
    facts = {"speakers": rows, "accuracy": right / sum(row["rows"] for row in rows.values())}
    record.write("digits_whisper" if args.encoder is None else f"digits_{args.encoder}_held_out", facts)


if __name__ == "__main__":
    main()
