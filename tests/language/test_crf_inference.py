"""Chain inference equals enumeration of every tag sequence, in value and in gradient."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.language import crf_inference
from sensorium.language.crf_inference import Chain, best_paths, log_partition, marginals, messages, path_score


def chain_of(seed: int, lengths: list[int], num_tags: int, size: float = 1.0, longest: int | None = None) -> Chain:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return (size * torch.randn(*shape, generator=generator, dtype=torch.float64)).requires_grad_()

    steps = max(lengths) if longest is None else longest
    emission = normal(len(lengths), steps, num_tags)
    return Chain(emission, torch.tensor(lengths), normal(num_tags), normal(num_tags, num_tags), normal(num_tags))


def every_path(chain: Chain, row: int) -> tuple[list[tuple[int, ...]], torch.Tensor]:
    """All tag sequences of a row and their scores, one by one from the definition."""
    length, tags = int(chain.length_B[row]), range(len(chain.first_S))
    paths = list(itertools.product(tags, repeat=length))
    scores = []
    for path in paths:
        score = chain.first_S[path[0]] + chain.last_S[path[-1]]
        score = score + sum(chain.emission_BTS[row, t, tag] for t, tag in enumerate(path))
        scores.append(score + sum(chain.step_SS[a, b] for a, b in itertools.pairwise(path)))
    return paths, torch.stack(scores)


def gradients(value: torch.Tensor, chain: Chain) -> list[torch.Tensor]:
    leaves = [chain.emission_BTS, chain.first_S, chain.step_SS, chain.last_S]
    found = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]


@given(st.integers(0, 10_000), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3))
def test_log_partition_and_its_gradient_equal_enumeration(seed, lengths, num_tags):
    chain = chain_of(seed, lengths, num_tags, size=2.0, longest=5)
    want_B = torch.stack([every_path(chain, row)[1].logsumexp(0) for row in range(len(lengths))])
    got_B = log_partition(chain)
    torch.testing.assert_close(got_B, want_B)
    weight_B = torch.arange(1.0, len(lengths) + 1, dtype=torch.float64)
    for got, want in zip(
        gradients((weight_B * got_B).sum(), chain), gradients((weight_B * want_B).sum(), chain), strict=True
    ):
        torch.testing.assert_close(got, want)


def test_messages_equal_enumeration():
    chain = chain_of(3, [4, 1, 3], 3)
    shape_BTS, scale_BT = messages(chain)
    for row, length in enumerate(chain.length_B.tolist()):
        for t, tag in itertools.product(range(length), range(3)):
            alike = []
            for rest in itertools.product(range(3), repeat=length - t - 1):
                path = (tag, *rest)
                score = sum((chain.step_SS[a, b] for a, b in itertools.pairwise(path)), chain.last_S[path[-1]])
                alike.append(score + sum(chain.emission_BTS[row, t + 1 + i, s] for i, s in enumerate(rest)))
            log_beta = torch.stack(alike).logsumexp(0)
            torch.testing.assert_close(shape_BTS[row, t, tag] + scale_BT[row, t], log_beta)
    torch.testing.assert_close(shape_BTS.exp().sum(-1), torch.ones_like(scale_BT))


def test_gradient_of_messages_passes_gradcheck():
    chain = chain_of(5, [3, 2], 3)
    mask_BT1 = chain.mask_BT[..., None]

    def both(emission_BTS, step_SS, last_S):
        shape_BTS, scale_BT = messages(Chain(emission_BTS, chain.length_B, chain.first_S, step_SS, last_S))
        return torch.where(mask_BT1, shape_BTS, 0), torch.where(mask_BT1[..., 0], scale_BT, 0)

    assert torch.autograd.gradcheck(both, (chain.emission_BTS, chain.step_SS, chain.last_S))


@given(st.integers(0, 10_000), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3))
def test_marginals_and_best_paths_equal_enumeration(seed, lengths, num_tags):
    chain = chain_of(seed, lengths, num_tags, longest=4)
    p_BTS = marginals(chain)
    tag_BKT, score_BK = best_paths(chain, num_best=4)
    for row, length in enumerate(lengths):
        paths, scores = every_path(chain, row)
        weights = scores.softmax(0)
        want_TS = torch.zeros(length, num_tags, dtype=torch.float64)
        for path, weight in zip(paths, weights, strict=True):
            for t, tag in enumerate(path):
                want_TS[t, tag] += weight.detach()
        torch.testing.assert_close(p_BTS[row, :length], want_TS)
        assert (p_BTS[row, length:] == 0).all()
        order = scores.argsort(descending=True)[:4]
        torch.testing.assert_close(score_BK[row, : len(order)], scores[order].detach())
        assert (score_BK[row, len(order) :] == -torch.inf).all()
        assert [tuple(p) for p in tag_BKT[row, : len(order), :length].tolist()] == [paths[i] for i in order]
        torch.testing.assert_close(path_score(chain, tag_BKT[:, 0])[row], scores[order[0]])


def test_scores_too_large_for_exponential_space_are_summed_in_log_space(monkeypatch):
    emission_BTS = torch.tensor([[[1000.0, 0.0], [0.0, 150.0]]], requires_grad=True)
    step_SS = torch.tensor([[0.0, -400.0], [-400.0, 0.0]])
    chain = Chain(emission_BTS, torch.tensor([2]), torch.zeros(2), step_SS, torch.zeros(2))
    want = every_path(chain, 0)[1].logsumexp(0)
    got_B = log_partition(chain)
    torch.testing.assert_close(got_B[0], want)
    (gradient_BTS,) = torch.autograd.grad(got_B.sum(), emission_BTS)
    torch.testing.assert_close(gradient_BTS, marginals(chain))
    monkeypatch.setattr(crf_inference, "_TRUSTED", 0.0)
    assert not torch.isclose(log_partition(chain)[0], want)  # so the second way was needed


@pytest.mark.parametrize("longest", [0, 3])
def test_a_sentence_of_no_positions(longest):
    chain = chain_of(0, [0, 0], 3, longest=longest)
    assert log_partition(chain).tolist() == [0, 0]
    assert path_score(chain, torch.zeros(2, longest, dtype=torch.int64)).tolist() == [0, 0]
    tag_BKT, score_BK = best_paths(chain, 2)
    assert tag_BKT.shape == (2, 2, longest)
    assert score_BK.tolist() == [[0, -torch.inf]] * 2
    assert (marginals(chain) == 0).all()
