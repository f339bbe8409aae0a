"""Text to token ids and back: label, word, character and byte-level BPE, fitted on the user's texts."""

from sensorium.data.tokenizers.protocol import Tokenizer
from sensorium.data.tokenizers.registry import ENTRY_POINTS, TOKENIZERS, build, read

__all__ = ["ENTRY_POINTS", "TOKENIZERS", "Tokenizer", "build", "read"]
