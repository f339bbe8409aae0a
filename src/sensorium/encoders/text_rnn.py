"""Elman's recurrent network over word vectors (Elman 1990): h_t = tanh(W x_t + U h_{t-1} + b)."""

from __future__ import annotations

from sensorium.encoders.text_recurrent import TextRecurrent


class TextRNN(TextRecurrent):
    """Encode a text with a simple recurrent network: (B, T, width)."""

    cell = "rnn"
