"""Gated recurrent units over word vectors (Cho et al. 2014, equations 5-8)."""

from __future__ import annotations

from sensorium.encoders.text_recurrent import TextRecurrent


class TextGRU(TextRecurrent):
    """Encode a text with a GRU: (B, T, width)."""

    cell = "gru"
