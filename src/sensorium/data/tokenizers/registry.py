"""Every tokenizer by name; third parties add theirs under the entry-point group."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.core import registry
from sensorium.data.tokenizers import saved
from sensorium.data.tokenizers.protocol import Tokenizer

ENTRY_POINTS = "sensorium.tokenizers"

TOKENIZERS: dict[str, str] = {
    "label": "sensorium.data.tokenizers.label:LabelTokenizer",
    "whitespace": "sensorium.data.tokenizers.whitespace:WhitespaceTokenizer",
    "word": "sensorium.data.tokenizers.word:WordTokenizer",
    "character": "sensorium.data.tokenizers.character:CharacterTokenizer",
    "bpe": "sensorium.data.tokenizers.bpe:BpeTokenizer",
    "hf": "sensorium.data.tokenizers.hf:HfTokenizer",
    "published": "sensorium.data.tokenizers.published:PublishedTokenizer",
    "tag": "sensorium.data.tokenizers.tag:TagTokenizer",
}


def build(name: str, options: Mapping[str, Any] | None = None, *, where: str = "") -> Tokenizer:
    """Make the unfitted tokenizer `name` with `options`, the fields of its Config.

    Raises:
        ConfigError: nobody registered `name`, an unknown option, or a value out of range.
    """
    cls = registry.load(TOKENIZERS, ENTRY_POINTS, name, where=where)
    tokenizer: Tokenizer = cls(cls.Config.parse(options or {}, prefix=where))
    return tokenizer


def read(folder: Path) -> Tokenizer:
    """Open the fitted tokenizer that was saved into `folder`, whichever it is.

    Raises:
        ModelError: no tokenizer there, or a damaged one.
    """
    content = saved.content(folder)
    return build(content["tokenizer"], content["config"], where=str(folder)).load(folder)
