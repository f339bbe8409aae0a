"""The tokenizer inside a GGUF file, rebuilt for the `tokenizers` library.

Enters: the metadata of a file whose tokenizer is byte-level byte-pair encoding ("gpt2").  Leaves: the engine, and
the numbers of its signs for padding, beginning, end and unknown.

The file names how text is parted before merging by a word alone; the rules behind the word are llama.cpp's
(llama-vocab.cpp, llm_tokenizer_bpe).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, decoders, pre_tokenizers
from tokenizers import Tokenizer as Engine
from tokenizers.models import BPE

from sensorium.core.errors import ModelError

_CONTROL, _USER_DEFINED = 3, 4
_ROLES = {"pad": "padding", "bos": "bos", "eos": "eos", "unk": "unknown"}

# Words in ByteLevel's own parting (GPT-2's regular expression), before which some part digits from each other.
_PARTINGS = {"gpt-2": False, "smollm": True}


def engine_of(metadata: Mapping[str, Any], where: str) -> tuple[Engine, dict[str, int]]:
    """Build the engine; returns it, and the numbers of special signs by role.

    Raises:
        ModelError: another kind of tokenizer, or lists that do not fit each other.
    """
    kind, parting = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or parting not in _PARTINGS:
        what = f"has a tokenizer '{kind}' that parts text as '{parting}'"
        raise ModelError(what, where=where, advice=f"'gpt2' is read here, with {', '.join(_PARTINGS)}")
    tokens = _texts(metadata, "tokens", where)
    merges = [_pair(merge, where) for merge in _texts(metadata, "merges", where)]
    numbers = {token: i for i, token in enumerate(tokens)}
    if len(numbers) != len(tokens):
        raise ModelError("has a token twice", where=where)
    try:
        engine = Engine(BPE(vocab=numbers, merges=merges))
    except Exception as error:  # the library raises bare Exceptions
        raise ModelError(f"has merges outside its vocabulary: {error}", where=where) from None
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if _PARTINGS[parting] else []
    engine.pre_tokenizer = pre_tokenizers.Sequence([*digits, words])
    engine.decoder = decoders.ByteLevel()
    _add_whole(engine, tokens, metadata.get("tokenizer.ggml.token_type"), where)
    return engine, _roles(metadata, len(tokens), where)


def _texts(metadata: Mapping[str, Any], key: str, where: str) -> list[str]:
    found = metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ModelError(f"has no list of {key}", where=where)
    return found


def _pair(merge: str, where: str) -> tuple[str, str]:
    left, blank, right = merge.partition(" ")
    if not blank or not left or not right:
        raise ModelError(f"has a merge of other than two tokens, {merge!r}", where=where)
    return left, right


def _add_whole(engine: Engine, tokens: list[str], kinds: Any, where: str) -> None:
    """Tell the engine which tokens are never parted: signs of control, and those that a user added."""
    if kinds is None:
        return
    if not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise ModelError("has not one type a token", where=where)
    for wanted in (_CONTROL, _USER_DEFINED):
        whole = [token for token, kind in zip(tokens, kinds, strict=True) if kind == wanted and token]
        added = [AddedToken(token, special=wanted == _CONTROL, normalized=False) for token in whole]
        (engine.add_special_tokens if wanted == _CONTROL else engine.add_tokens)(added)


def _roles(metadata: Mapping[str, Any], num_tokens: int, where: str) -> dict[str, int]:
    roles = {}
    for role, name in _ROLES.items():
        number = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if number is None:
            continue
        if type(number) is not int or not 0 <= number < num_tokens:
            raise ModelError(f"names token {number!r} for '{name}', of {num_tokens}", where=where)
        roles[role] = number
    return roles
