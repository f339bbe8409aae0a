"""Every next-token scorer by name; third parties add theirs under the entry-point group.

`SCORERS` are built as `Scorer(config, vocab, width)`, `COMPOSITIONS` as `Composition(parts)`.
"""

ENTRY_POINTS = "sensorium.scorers"

SCORERS: dict[str, str] = {
    "ctc": "sensorium.language.ctc:CTC",
    "ngram": "sensorium.language.ngram:Ngram",
    "recurrent": "sensorium.language.recurrent:Recurrent",
    "transformer": "sensorium.language.transformer:Transformer",
}

COMPOSITIONS: dict[str, str] = {
    "linear": "sensorium.language.mixture:Mixture",
    "product": "sensorium.language.product:Product",
}
