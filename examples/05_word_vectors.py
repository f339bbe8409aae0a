"""Word vectors from one's own sentences, kept in a file that any text encoder can begin with.

    python examples/05_word_vectors.py

In a config: [inputs.text] encoder = "gru", embedding = 16, vectors = "words.txt"; or, to learn them in the run
from its own training texts, learned_vectors = true.
On the command line: sensorium vectors train TEXT --out words.txt
"""

import tempfile
from pathlib import Path

from sensorium.data.tokenizers.word import WordTokenizer
from sensorium.data.word_vectors import WordVectors
from sensorium.data.word_vectors_training import WordVectorConfig, train_word_vectors

SENTENCES = ["a red circle and a red square", "a blue circle and a blue square", "dogs bark and cats purr"] * 40

tokenizer = WordTokenizer().fit(SENTENCES)
config = WordVectorConfig(method="skip_gram", width=16, window=2, epochs=20, subsample=1.0, learning_rate=0.2)
vectors = train_word_vectors((tokenizer.encode(text) for text in SENTENCES), tokenizer.vocab, config)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "words.txt"
    vectors.write(path)
    for word, cosine in WordVectors.read(path).nearest("red", 3):
        print(f"red ~ {word}: {cosine:.2f}")
