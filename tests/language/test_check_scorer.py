"""check_scorer finds each fault that it is for: a sound scorer passes, and every way to break it fails."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from sensorium.core.types import Conditioning, Encoded
from sensorium.core.vocabulary import BOS, EOS, PAD, Vocab
from sensorium.testing import check_scorer

VOCAB = Vocab.of("ab")
WIDTH = 3


def cond(num_rows: int) -> Conditioning:
    generator = torch.Generator().manual_seed(5)
    x_BMD = torch.randn(num_rows, 2, WIDTH, generator=generator)
    present_B = torch.ones(num_rows, dtype=torch.bool)
    return Conditioning(Encoded(x_BMD, torch.ones(num_rows, 2, dtype=torch.bool), present_B))


@dataclass(frozen=True)
class State:
    sum_BV: Tensor
    memory_BV: Tensor


class Sound(nn.Module):
    """log p = softmax(W (sum of embeddings) + A mean(memory)): small, and sensitive to every token."""

    fitted_by = "gradient"

    def __init__(self) -> None:
        super().__init__()
        self.vocab = VOCAB
        self.embedding_VV = nn.Parameter(torch.randn(len(VOCAB), len(VOCAB)))
        self.memory_DV = nn.Parameter(torch.randn(WIDTH, len(VOCAB)))

    def start(self, cond):
        if cond.memory.x_BTD.shape[1] == 0:
            memory_BV = self.memory_DV.new_zeros(cond.num_rows, len(VOCAB))
        else:
            memory_BV = self.pool(cond.memory) @ self.memory_DV
        return State(torch.zeros_like(memory_BV), memory_BV)

    def pool(self, memory):
        return memory.mean_BD()

    def distribution(self, sum_BV, memory_BV):
        logits = (sum_BV + memory_BV).clone()
        logits[..., [PAD, BOS]] = -torch.inf
        return logits.log_softmax(-1)

    def extend(self, state, token_BT, mask_BT):
        x_BTV = torch.where(mask_BT[..., None], self.embedding_VV[token_BT], 0)
        sum_BV = state.sum_BV + x_BTV.sum(1)
        return self.distribution(sum_BV, state.memory_BV), State(sum_BV, state.memory_BV)

    def score(self, token_BT, mask_BT, cond):
        memory_BV = self.start(cond).memory_BV
        sum_BTV = self.embedding_VV[token_BT].cumsum(1)
        log_p_BTV = self.distribution(sum_BTV, memory_BV[:, None])
        log_p_BT = log_p_BTV[:, :-1].gather(2, token_BT[:, 1:, None]).squeeze(2)
        return torch.where(mask_BT, nn.functional.pad(log_p_BT, (1, 0)), 0.0)


class Unnormalised(Sound):
    def distribution(self, sum_BV, memory_BV):
        return super().distribution(sum_BV, memory_BV) + 0.1


class EmitsPadding(Sound):
    def distribution(self, sum_BV, memory_BV):
        return (sum_BV + memory_BV).log_softmax(-1)


class ForgetsInPrefill(Sound):
    def extend(self, state, token_BT, mask_BT):
        return super().extend(state, token_BT[:, -1:], mask_BT[:, -1:])


class ReadsPadding(Sound):
    def extend(self, state, token_BT, mask_BT):
        return super().extend(state, token_BT, torch.ones_like(mask_BT))


class ScoresOtherwise(Sound):
    def score(self, token_BT, mask_BT, cond):
        return super().score(token_BT, mask_BT, cond) * 1.01


class ScoresPadding(Sound):
    def score(self, token_BT, mask_BT, cond):
        return super().score(token_BT, torch.ones_like(mask_BT), cond)


class ScoresBos(Sound):
    def score(self, token_BT, mask_BT, cond):
        return super().score(token_BT, mask_BT, cond) - (token_BT == BOS).float()


class LooksAhead(Sound):
    def score(self, token_BT, mask_BT, cond):
        ahead_BT = (token_BT == EOS + 2).float().flip(1).cumsum(1).flip(1)
        return super().score(token_BT, mask_BT, cond) - torch.where(
            mask_BT & (token_BT != BOS), 0.01 * ahead_BT, 0.0
        )


class KeepsRowsOutsideItsState(Sound):
    def start(self, cond):
        self.kept = super().start(cond).memory_BV
        return super().start(cond)

    def extend(self, state, token_BT, mask_BT):
        rows = torch.arange(len(token_BT)) % len(self.kept)
        _, state = super().extend(state, token_BT, mask_BT)
        return self.distribution(state.sum_BV, self.kept[rows]), state


class MixesRows(Sound):
    def start(self, cond):
        state = super().start(cond)
        return State(state.sum_BV, state.memory_BV - 0.1 * state.memory_BV.mean(0, keepdim=True))


class ReadsMaskedMemory(Sound):
    def pool(self, memory):
        return memory.x_BTD.mean(1)


class NeedsMemory(Sound):
    def start(self, cond):
        memory_BV = cond.memory.mean_BD() @ self.memory_DV
        return State(torch.zeros_like(memory_BV), memory_BV)


class SavesNothing(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = {"bias": torch.randn(len(VOCAB))}

    def distribution(self, sum_BV, memory_BV):
        return super().distribution(sum_BV, memory_BV + self.hidden["bias"])


class SharesStorage(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.twin_VV = nn.Parameter(self.embedding_VV.detach().T)


class HasNoGradient(Sound):
    def score(self, token_BT, mask_BT, cond):
        return super().score(token_BT, mask_BT, cond).detach()


class HasNanGradient(Sound):
    def distribution(self, sum_BV, memory_BV):
        return super().distribution(sum_BV + 0 * (self.embedding_VV[0, 0] * 0).sqrt(), memory_BV)


FAULTS = {
    Unnormalised: "sums to 1",
    EmitsPadding: "PAD and BOS",
    ForgetsInPrefill: "prefill",
    ReadsPadding: "padded prefill",
    ScoresOtherwise: "score = looped extend",
    ScoresPadding: "score is 0 at padding",
    ScoresBos: "score is 0 at BOS",
    LooksAhead: "score = looped extend|do not change what stands before",
    KeepsRowsOutsideItsState: "select",
    MixesRows: "row",
    ReadsMaskedMemory: "padding of the memory",
    NeedsMemory: "shapes cannot be multiplied",
    SavesNothing: "loads the state dict scores the same",
    SharesStorage: "share memory",
    HasNoGradient: "has a gradient",
    HasNanGradient: "gradients are finite",
}


def test_a_sound_scorer_passes():
    check_scorer(Sound, cond)


@pytest.mark.parametrize("broken", FAULTS, ids=lambda broken: broken.__name__)
def test_a_fault_is_found(broken):
    with pytest.raises((AssertionError, RuntimeError), match=FAULTS[broken]):
        check_scorer(broken, cond)


def test_the_oracle_is_consulted():
    def oracle(tokens, cond):
        return 0.0

    with pytest.raises(AssertionError, match="oracle"):
        check_scorer(Sound, cond, oracle=oracle)


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_scorer(Sound, cond)
    assert torch.equal(before, torch.get_rng_state())
