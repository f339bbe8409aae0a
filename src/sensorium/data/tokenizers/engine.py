"""What tokenizers over an engine of the `tokenizers` library share.

Enters: an engine and a text.  Leaves: the text as the engine writes it.
"""

from __future__ import annotations

from tokenizers import Tokenizer as Engine


def written(engine: Engine, text: str, unknown: str | None) -> str:
    """Return `text` after the way there and back; where the engine has no sign for a part, only normalised.

    Args:
        unknown: the engine's sign for what it does not know; None = it knows everything.
    """
    encoding = engine.encode(text, add_special_tokens=False)
    if unknown is not None and unknown in encoding.tokens:
        return str(engine.normalizer.normalize_str(text)) if engine.normalizer is not None else text
    return str(engine.decode(encoding.ids, skip_special_tokens=True))
