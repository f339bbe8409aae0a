"""A trigram counted in a moment scores words like any neural scorer: one protocol, no training."""

import torch

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS
from sensorium.data.tokenizers import build
from sensorium.decoding.config import DecodingConfig
from sensorium.decoding.config import build as build_decoder
from sensorium.language.ngram import Ngram

texts = ["a dog runs on the grass", "a dog sleeps on the sofa", "a cat sleeps on the grass", "the cat runs"] * 5
tokenizer = build("word").fit(texts)
ngram = Ngram(Ngram.Config(order=3), tokenizer.vocab, width=1)
ngram.fit([[BOS, *tokenizer.encode(text), EOS] for text in texts])

state = ngram.start(Conditioning.empty(1))
history = torch.tensor([[BOS, *tokenizer.encode("a cat")]])
log_p_BV, _ = ngram.extend(state, history, torch.ones_like(history, dtype=torch.bool))
best = log_p_BV[0].topk(3)
for log_p, token in zip(best.values.tolist(), best.indices.tolist(), strict=True):
    print(f"a cat ... {tokenizer.vocab.tokens[token]:<8} {2.718281828**log_p:.3f}")

written = build_decoder(DecodingConfig(search="beam", max_tokens=10))(ngram, Conditioning.empty(1))
print(tokenizer.decode(written.token_BT[0].tolist()))
