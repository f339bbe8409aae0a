"""Counting and gradients as equals: fit how much each scorer of a mixture counts, on held-out text."""

import torch

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS
from sensorium.data.tokenizers import build
from sensorium.language.mixture import Mixture
from sensorium.language.ngram import Ngram
from sensorium.language.transformer import Transformer

torch.manual_seed(0)
texts = [
    f"{who} {what} {where}"
    for who in ("anna", "ben", "cleo")
    for what in ("reads", "sleeps")
    for where in ("here", "there")
]
tokenizer = build("word").fit(texts)
token_BT = torch.tensor([[BOS, *tokenizer.encode(text), EOS] for text in texts])
mask_BT = torch.ones_like(token_BT, dtype=torch.bool)
held_out = [1, 6, 11]
train = [i for i in range(12) if i not in held_out]

ngram = Ngram(Ngram.Config(order=2), tokenizer.vocab, 1).fit(token_BT[train].tolist())
transformer = Transformer(Transformer.Config(layers=1, width=16, heads=2), tokenizer.vocab, 1)
optimiser = torch.optim.AdamW(transformer.parameters(), lr=0.01)
for _ in range(25):
    loss = -transformer.score(token_BT[train], mask_BT[train], Conditioning.empty(9)).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

transformer.eval()
mixture = Mixture([transformer, ngram])
shares = mixture.fit_weights([(token_BT[held_out], mask_BT[held_out], Conditioning.empty(3))])
for name, scorer in (("transformer", transformer), ("ngram", ngram), ("mixture", mixture)):
    with torch.no_grad():
        nats = -scorer.score(token_BT[held_out], mask_BT[held_out], Conditioning.empty(3)).sum() / 12
    print(f"{name:<12} {nats:.3f} nats a token")
print("shares:", [round(share, 3) for share in shares])
