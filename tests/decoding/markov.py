"""A scorer small enough to enumerate: an explicit table p(next | topic of the row, last two tokens)."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, EOS, PAD, Vocab


@dataclass(frozen=True)
class State:
    """Keeps its tokens in one buffer that `extend` writes into, as a key-value cache does."""

    topic_N: Tensor
    token_NT: Tensor
    length: int


class MarkovTable(nn.Module):
    fitted_by = "counting"

    def __init__(self, num_words: int, *, num_topics: int = 4, seed: int = 0, spread: float = 1.5) -> None:
        super().__init__()
        self.vocab = Vocab.of(chr(ord("a") + i) for i in range(num_words))
        size = len(self.vocab)
        generator = torch.Generator().manual_seed(seed)
        logit = spread * torch.randn(num_topics, size, size, size, generator=generator)
        logit[..., [PAD, BOS]] = -torch.inf
        self.log_p_: Tensor
        self.register_buffer("log_p_", logit.log_softmax(-1))
        self.fed_rows = 0

    def start(self, cond: Conditioning) -> State:
        num_rows = cond.num_rows
        return State(cond.evidence["topic"].clone(), torch.full((num_rows, 64), PAD), 0)

    def extend(self, state: State, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, State]:
        assert mask_BT.all(), "decoding feeds real tokens only"
        self.fed_rows += len(token_BT)
        end = state.length + token_BT.shape[1]
        state.token_NT[:, state.length : end] = token_BT
        before_N = state.token_NT[:, end - 2] if end > 1 else torch.full((len(token_BT),), PAD)
        log_p_NV = self.log_p_[state.topic_N, before_N, token_BT[:, -1]]
        return log_p_NV, State(state.topic_N, state.token_NT, end)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        raise AssertionError("decoding never needs it")

    def of_text(self, topic: int, tokens: tuple[int, ...]) -> list[float]:
        """log p of each token, straight from the table."""
        padded = (PAD, BOS, *tokens)
        return [self.log_p_[(topic, *padded[i : i + 3])].item() for i in range(len(tokens))]


def topics(*numbers: int) -> Conditioning:
    empty = Conditioning.empty(len(numbers))
    return Conditioning(empty.memory, evidence={"topic": torch.tensor(numbers)})


def every_text(scorer: MarkovTable, max_tokens: int) -> list[tuple[int, ...]]:
    """All texts of at most `max_tokens` tokens: those that end, and those cut off."""
    words = [i for i in range(len(scorer.vocab)) if i not in (PAD, BOS, EOS)]
    ended = [(*t, EOS) for n in range(max_tokens) for t in itertools.product(words, repeat=n)]
    return ended + list(itertools.product(words, repeat=max_tokens))
