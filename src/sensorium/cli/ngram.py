"""`sensorium ngram train TEXT`, `sensorium ngram score MODEL TEXT`: n-gram models of plain text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import number, print_json, print_table, say

ngram = typer.Typer(
    help="Count and judge n-gram models of text files; ARPA files in and out.", no_args_is_help=True
)


@ngram.command("train")
def train(
    text: Annotated[Path, typer.Argument(help="UTF-8 text, one sentence a line; .gz too.")],
    out: Annotated[Path, typer.Option(help="A folder to write, or an .arpa or .arpa.gz file.")],
    order: Annotated[int, typer.Option(min=1, max=16, help="Length of the longest n-grams.")] = 3,
    tokenizer: Annotated[str, typer.Option(help="whitespace, word, character or bpe.")] = "whitespace",
    prune: Annotated[
        str, typer.Option(help="Leave out n-grams seen so often or less, by length: '0 0 1'; as lmplz.")
    ] = "",
    memory_mib: Annotated[
        int | None, typer.Option(min=1, help="For text larger than memory: sort about so much at a time, on disk.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Count TEXT into a modified Kneser-Ney model."""
    import time

    from sensorium.core.errors import UsageError
    from sensorium.workflow import text_ngram

    text_ngram.require_place(out, force=force)
    if not all(word.isdecimal() for word in prune.split()):
        raise UsageError(f"--prune wants numbers such as '0 0 1', not '{prune}'")
    started = time.perf_counter()
    thresholds = tuple(map(int, prune.split()))
    model = text_ngram.train_text(
        text, order=order, prune=thresholds, tokenizer=tokenizer, memory_mib=memory_mib, scratch=out.parent
    )
    text_ngram.save(model, out)
    facts = {"model": str(out), **text_ngram.describe(model), "seconds": round(time.perf_counter() - started, 3)}
    if as_json:
        print_json(facts)
        return
    print_table(["n-grams", "number"], [[str(n), f"{num:,}"] for n, num in enumerate(facts["ngrams"], start=1)])
    print(f"wrote {out} in {facts['seconds']:.1f} s\nnext: sensorium ngram score {out} TEXT")


@ngram.command("score")
def score(
    model: Annotated[Path, typer.Argument(help="A folder of `ngram train`, or an ARPA file.")],
    text: Annotated[Path, typer.Argument(help="UTF-8 text, one sentence a line; .gz too.")],
    lines: Annotated[bool, typer.Option("--lines", help="Print log10 p and unknown tokens of each line.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Judge TEXT by MODEL: perplexity with and without the tokens it does not know."""
    from sensorium.workflow import text_ngram

    scores = list(text_ngram.score_lines(text_ngram.load(model), text_ngram.lines_of(text)))
    facts = {"model": str(model), "text": str(text), **text_ngram.TextScore.of(scores).facts()}
    if lines:
        facts["lines"] = [{"log10_p": s.log10_p, "unknown": s.num_unknown} for s in scores]
    if as_json:
        print_json(facts)
        return
    for line in scores if lines else []:
        print(f"{line.log10_p:.6f}\t{line.num_unknown}")
    say(f"{facts['sentences']:,} sentences, {facts['tokens']:,} tokens, {facts['unknown']:,} unknown")
    names = ("perplexity_with_oov", "perplexity_without_oov")
    print_table(["metric", "value"], [[name, number(facts[name])] for name in names])
