"""Nats a character on tinyshakespeare's last tenth: n-gram, infinite-gram, Transformer, their mixture, their gate.

    python benchmarks/tinyshakespeare.py            trains recipes/tinyshakespeare.toml, then reads the last tenth

With --dev the training part is taken for the whole text, so that settings can be tried without the last tenth.

The text is read in windows as long as those of training, of which the first three quarters are context and the
last is scored, so that every character is scored once with at least CONTEXT characters before it (fewer at the very
beginning; a Transformer with rotary positions says nothing sensible beyond the length it was trained on).  The end
of a text, which this one never comes to within a window, keeps its share of the probability.

Others, from their own publications or runs: nanoGPT's A100 recipe 1.4697, its CPU recipe 1.88; an order-7 model
mixed 60:40 with a Transformer of 1.25 M parameters 1.4595.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

import record
import torch

import sensorium
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS
from sensorium.data.readers_windows import WINDOW, part_of
from sensorium.language.mixture import Mixture
from sensorium.language.ngram import Ngram
from sensorium.model.multimodal import MultimodalLM
from sensorium.training.console import console_progress
from sensorium.workflow.config import load_config
from sensorium.workflow.train import train

ORDER = 7  # of the n-gram that is judged alone
CONTEXT, STRIDE = 3 * WINDOW // 4, WINDOW // 4
TEXT = record.ROOT / ".." / "shared" / "data" / "text" / "tinyshakespeare.txt"


def windows(ids: list[int], rows: int = 64) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return batches of (token_BT, is_scored_BT); together every id is scored once."""
    texts = []
    for start in range(0, len(ids), STRIDE):
        before = max(0, start - CONTEXT)
        texts.append((ids[before : start + STRIDE], start - before))
    found = []
    for first in range(0, len(texts), rows):
        chunk = texts[first : first + rows]
        length = max(len(text) for text, _ in chunk)
        token_BT = torch.zeros(len(chunk), length + 1, dtype=torch.int64)
        scored_BT = torch.zeros_like(token_BT, dtype=torch.bool)
        token_BT[:, 0] = BOS
        for b, (text, context) in enumerate(chunk):
            token_BT[b, 1 : len(text) + 1] = torch.tensor(text)
            scored_BT[b, context + 1 : len(text) + 1] = True
        found.append((token_BT, scored_BT))
    return found


@torch.inference_mode()
def nats(scorer: torch.nn.Module, ids: list[int]) -> float:
    """Return the mean negative log-likelihood of a character."""
    total = count = 0.0
    for token_BT, scored_BT in windows(ids):
        mask_BT = token_BT != 0
        log_p_BT = scorer.score(token_BT, mask_BT, Conditioning.empty(len(token_BT)))
        total -= float(log_p_BT[scored_BT].double().sum())
        count += int(scored_BT.sum())
    assert count == len(ids)
    return total / count


def training_rows(model: MultimodalLM, text: Path) -> list[list[int]]:
    """Return the whole training part as the recipe counts it: a row of ids for each window."""
    letters = part_of(text / "train")
    windows = (letters[start : start + WINDOW] for start in range(0, len(letters), WINDOW))
    return [[BOS, *model.tokenizer.encode(window), EOS] for window in windows]


def main() -> None:
    """Train, judge every part alone and all together, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--dev", action="store_true", help="judge on the training part's end, write nothing")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / TEXT.name if args.dev else TEXT
        if args.dev:
            text.write_text(part_of(TEXT / "train"), encoding="utf-8")
        tables = {"train": "fit", "validation": "held-out", "test": "validation"}
        changes = [f"data.{name}='windows:{text.resolve()}/{part}'" for name, part in tables.items()]
        changes += ["evaluation.baselines=false", *args.changes]
        config = load_config(record.ROOT / "recipes" / "tinyshakespeare.toml", changes)
        started = time.perf_counter()
        result = train(config, out=Path(folder) / "run", progress=console_progress(), say=print)
        whole_s = time.perf_counter() - started - result.evaluation.seconds
        model = sensorium.load(result.run).predictor.model
        ids, counted = model.tokenizer.encode(part_of(text / "validation")), training_rows(model, text)
        # A gate's linear shares were fitted before its network, and before the parts were refitted on those rows.
    weights = model.scorer.log_weight_K.exp().tolist()
    mixture = Mixture(list(model.parts.values())).eval().set_weights(weights)
    ngram = Ngram(Ngram.Config(order=ORDER), model.vocab, width=1).fit(counted)
    scorers = {"ngram": ngram, **model.parts, "linear": mixture, config.model.language.mix: model.scorer}
    facts = {
        "nats_a_character": {name: nats(scorer, ids) for name, scorer in scorers.items()},
        "characters": len(ids),
        "linear_weights": dict(zip(model.parts, weights, strict=True)),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "seconds": result.fitted.seconds | {"train() without judging": whole_s},
        "characters_a_second_in_training": result.fitted.report.rows_per_s * WINDOW,
        "uniform": math.log(len(model.vocab) - 2),
    }
    if args.dev:
        print(facts)
    else:
        record.write("tinyshakespeare", facts)


if __name__ == "__main__":
    main()
