"""Every next-token scorer by name; third parties add theirs under the entry-point group.

`SCORERS` are built as `Scorer(config, vocab, width)`, `COMPOSITIONS` as `Composition(parts)`.
"""

ENTRY_POINTS = "sensorium.scorers"

SCORERS: dict[str, str] = {
    "crf": "sensorium.language.crf:Crf",
    "naive_bayes": "sensorium.language.naive_bayes:NaiveBayes",
    "nb_svm": "sensorium.language.nb_svm:NbSvm",
    "hmm": "sensorium.language.hmm:HiddenMarkov",
    "ctc": "sensorium.language.ctc:CTC",
    "hf": "sensorium.language.hf:PublishedLM",
    "infinigram": "sensorium.language.infinigram:Infinigram",
    "llama": "sensorium.language.llama:Llama",
    "packaged": "sensorium.language.llama:Llama",
    "knn": "sensorium.language.nearest_neighbours:NearestNeighbours",
    "neighbours": "sensorium.language.neighbours:Neighbours",
    "ngram": "sensorium.language.ngram:Ngram",
    "readout": "sensorium.language.readout:Readout",
    "recurrent": "sensorium.language.recurrent:Recurrent",
    "transformer": "sensorium.language.transformer:Transformer",
}

COMPOSITIONS: dict[str, str] = {
    "chain": "sensorium.language.crf_product:CrfProduct",
    "gate": "sensorium.language.gate:Gate",
    "linear": "sensorium.language.mixture:Mixture",
    "product": "sensorium.language.product:Product",
}
