"""`sensorium vectors train|nearest|analogy`: vectors of the words of plain text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.output import number, print_json, print_table

vectors = typer.Typer(help="Learn word vectors from a text file, and ask a file of them.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Vectors = Annotated[Path, typer.Argument(help="A word2vec, GloVe or fastText file: text, or binary if .bin.")]
Number = Annotated[int, typer.Option("--number", "-n", min=1, help="How many words to print.")]


@vectors.command("train")
def train(
    text: Annotated[Path, typer.Argument(help="UTF-8 text, one sentence a line; .gz too.")],
    out: Annotated[
        Path, typer.Option(help="The file to write: word2vec's binary form if .bin, else its text form.")
    ],
    method: Annotated[str, typer.Option(help="skip_gram, cbow or glove.")] = "skip_gram",
    width: Annotated[int, typer.Option(min=1, help="Numbers a word.")] = 100,
    window: Annotated[int, typer.Option(min=1, help="Neighbours on either side.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Times the text is read.")] = 5,
    min_count: Annotated[int, typer.Option(min=1, help="Leave out words seen fewer times.")] = 5,
    tokenizer: Annotated[str, typer.Option(help="whitespace or word.")] = "whitespace",
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal vectors.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: Json = False,
) -> None:
    """Learn vectors of the words of TEXT."""
    import time

    from sensorium.core.commit import require_free
    from sensorium.data.word_vectors import begins_vectors
    from sensorium.data.word_vectors_training import WordVectorConfig
    from sensorium.workflow.text_vectors import train_text_vectors

    require_free(out, force=force, is_ours=begins_vectors)
    options = {"method": method, "width": width, "window": window, "epochs": epochs, "seed": seed}
    config = WordVectorConfig.parse(options)
    started = time.perf_counter()
    learned = train_text_vectors(text, config, tokenizer=tokenizer, options={"min_count": min_count})
    learned.write(out)
    seconds = round(time.perf_counter() - started, 3)
    facts = {"vectors": str(out), "words": len(learned.words), "width": width, "method": method, "seconds": seconds}
    if as_json:
        print_json(facts)
        return
    print(f"wrote {len(learned.words):,} vectors of {width} to {out} in {seconds:.1f} s")
    print(f"next: sensorium vectors nearest {out} WORD")


@vectors.command("nearest")
def nearest(file: Vectors, word: str, num: Number = 10, as_json: Json = False) -> None:
    """Print the words that are used as WORD is."""
    from sensorium.data.word_vectors import WordVectors

    _show(WordVectors.read(file).nearest(word, num), as_json)


@vectors.command("analogy")
def analogy(file: Vectors, a: str, b: str, c: str, num: Number = 10, as_json: Json = False) -> None:
    """Print the words that are to C as B is to A."""
    from sensorium.data.word_vectors import WordVectors

    _show(WordVectors.read(file).analogy(a, b, c, num), as_json)


def _show(found: list[tuple[str, float]], as_json: bool) -> None:
    if as_json:
        print_json({"words": [{"word": word, "cosine": cosine} for word, cosine in found]})
    else:
        print_table(["word", "cosine"], [[word, number(cosine)] for word, cosine in found])
