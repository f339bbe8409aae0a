"""Random hidden Markov models, and the sum over all their paths."""

import itertools

import torch

from sensorium.markov.emissions import Categorical, GaussianMixtures, Gaussians
from sensorium.markov.model import HMM


def shares(*shape, generator):
    x = torch.rand(*shape, generator=generator, dtype=torch.float64) + 0.05
    return x / x.sum(-1, keepdim=True)


def random_hmm(kind, num_states, seed, final=False, num=4):
    """A chain with `num` ids or features; two Gaussians a state in mixtures."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def variance(*shape):
        return 0.3 + torch.rand(*shape, generator=g, dtype=torch.float64)

    make = {
        "categorical": lambda: Categorical(shares(num_states, num, generator=g)),
        "gaussian": lambda: Gaussians(normal(num_states, num), variance(num_states, num)),
        "mixture": lambda: GaussianMixtures(
            shares(num_states, 2, generator=g), normal(num_states, 2, num), variance(num_states, 2, num)
        ),
    }
    chain = shares(num_states, generator=g), shares(num_states, num_states, generator=g), make[kind]()
    return HMM(*chain, shares(num_states, generator=g) if final else None)


def observations(kind, lengths, seed, num=4):
    g = torch.Generator().manual_seed(seed)
    if kind == "categorical":
        return torch.randint(num, (sum(lengths),), generator=g)
    return torch.randn(sum(lengths), num, generator=g, dtype=torch.float64)


def all_paths(hmm, x):
    """Every path of one sequence with its joint log probability, by the definition."""
    log_e = hmm.emissions.log_p(x)
    for path in itertools.product(range(hmm.num_states), repeat=len(x)):
        log_p = hmm.start_S[path[0]].log() + sum(log_e[t, s] for t, s in enumerate(path))
        log_p = log_p + sum(hmm.transition_SS[a, b].log() for a, b in itertools.pairwise(path))
        if hmm.final_S is not None:
            log_p = log_p + hmm.final_S[path[-1]].log()
        yield path, log_p
