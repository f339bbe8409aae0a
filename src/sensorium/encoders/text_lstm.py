"""Long short-term memory over word vectors (Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000)."""

from __future__ import annotations

from sensorium.encoders.text_recurrent import TextRecurrent


class TextLSTM(TextRecurrent):
    """Encode a text with an LSTM: (B, T, width)."""

    cell = "lstm"
