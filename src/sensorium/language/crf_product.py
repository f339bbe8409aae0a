"""The product of CRFs: p(y | x) = prod_k p_k(y | x)^{w_k} / Z(x), over whole tag sequences; again a CRF.

Enters: scorers that are linear chains over the same positions, and their exponents.  Leaves: a scorer.

    score(y | x) = sum_k w_k score_k(y | x)

The scores of a chain are sums over its positions and links, so those of the product are the weighted sums, and Z,
the best sequence and the marginals stay exact.  `Product` instead renormalises after every token: a product of
what is said of the next tag, which has no exact best sequence.
Source: Smith, Cohn and Osborne 2005, "Logarithmic opinion pools for conditional random fields".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, Self, cast, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.core.errors import DataError, ModelError
from sensorium.core.protocols import Scorer
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import UNK
from sensorium.language.chain_scoring import ChainState, best, extend, score, start
from sensorium.language.crf_inference import Chain, log_partition, marginals, path_score
from sensorium.language.parts import Parts, Scored, checked_weights
from sensorium.language.shares import Shares, product_shares

_MAX_STEPS = 50


@runtime_checkable
class Chained(Protocol):
    """A scorer that is a linear chain."""

    def chain(self, cond: Conditioning) -> Chain:
        """Score every tag at every position, and every pair of neighbours."""
        ...

    def links(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the chain's first_S, step_SS and last_S."""
        ...


class CrfProduct(nn.Module):
    """Multiply what linear chains say of whole tag sequences, each to the power of its weight; 1/K until fitted.

    Raises:
        ModelError: no part, parts whose vocabularies differ, or one that is not a linear chain.
    """

    fitted_by = "parts"
    log_weight_K: Tensor

    def __init__(self, parts: Sequence[Scorer]) -> None:
        super().__init__()
        for part in parts:
            if not isinstance(part, Chained):
                raise ModelError(f"a {type(part).__name__} is no linear chain", advice='choose mix = "product"')
        self.parts = Parts(parts)
        self.vocab = self.parts.vocab
        self.register_buffer("log_weight_K", torch.zeros(len(parts)))
        self.set_weights([1 / len(parts)] * len(parts))

    @property
    def weights(self) -> list[float]:
        """Return the parts' exponents."""
        exponents: list[float] = self.log_weight_K.exp().tolist()
        return exponents

    def set_weights(self, weights: Sequence[float]) -> Self:
        """Fix the exponents.  Raises ModelError."""
        self.log_weight_K.copy_(checked_weights(weights, len(self.parts)).log())
        return self

    @torch.no_grad()
    def fit_weights(self, held_out: Iterable[Scored]) -> list[float]:
        """Fit the exponents to the likelihood of held-out (token_BT, mask_BT, cond); returns them.

        log p(y | x) is concave in them, as in any log-linear model.

        Raises:
            DataError: no held-out tag.
        """
        seen = [
            (chains, _tags(token_BT, chains)) for token_BT, _, cond in held_out for chains in [self._chains(cond)]
        ]
        num_tags = sum(int(_lengths(chains).sum()) for chains, _ in seen)
        if num_tags == 0:
            raise DataError("no held-out tags: exponents cannot be fitted")
        log_weight_K = torch.full_like(self.log_weight_K, 1 / len(self.parts)).log().requires_grad_()
        optimiser = torch.optim.LBFGS([log_weight_K], max_iter=_MAX_STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            total = torch.zeros(())
            for chains, tag_BT in seen:
                joined = weighted(chains, log_weight_K.exp())
                part = (log_partition(joined) - path_score(joined, tag_BT)).sum() / num_tags
                part.backward()
                total = total + part.detach()
            return total

        with torch.enable_grad():
            optimiser.step(loss)
        return self.set_weights(log_weight_K.detach().exp().tolist()).weights

    def chain(self, cond: Conditioning) -> Chain:
        """Add up the parts' scores.  Raises ModelError: they tag positions of unequal numbers."""
        return weighted(self._chains(cond), self.log_weight_K.exp())

    def links(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the chain's first_S, step_SS and last_S."""
        each = zip(*(part.links() for part in self._chained()), strict=True)
        first_S, step_SS, last_S = (_weighted_sum(scores, self.log_weight_K.exp()) for scores in each)
        return first_S, step_SS, last_S

    def start(self, cond: Conditioning) -> ChainState:
        """Begin B rows."""
        return start(self.chain(cond))

    def extend(self, state: ChainState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, ChainState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        first_S, step_SS, _ = self.links()
        return extend(state, token_BT, mask_BT, first_S, step_SS)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T)."""
        return score(self.chain(cond), token_BT, mask_BT)

    def score_parts(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return each part's own log p of each token, (K, B, T)."""
        return self.parts.score(token_BT, mask_BT, cond)

    def shares(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Shares:
        """Return what each part has to do with each token, by its own log p: Z is of whole sequences."""
        together_BT = self.score(token_BT, mask_BT, cond)
        return product_shares(self.score_parts(token_BT, mask_BT, cond), self.log_weight_K.exp(), together_BT)

    def best(self, cond: Conditioning, num_best: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Find the likeliest tag sequences; see `chain_scoring.best`."""
        return best(self.chain(cond), num_best)

    @torch.no_grad()
    def marginals(self, cond: Conditioning) -> Tensor:
        """Return p(tag at t | x), (B, T, V); zeros at padding."""
        return F.pad(marginals(self.chain(cond)), (UNK, 0))

    def _chained(self) -> list[Chained]:
        return [cast(Chained, part) for part in self.parts]

    def _chains(self, cond: Conditioning) -> list[Chain]:
        chains = [part.chain(cond) for part in self._chained()]
        length_B = _lengths(chains)
        if any(((chain.length_B > 0) & (chain.length_B != length_B)).any() for chain in chains):
            raise ModelError(
                "the CRFs of a product tag unequal numbers of positions",
                where="language",
                advice="let their inputs be of one column, cut at the same max_tokens",
            )
        return chains


def weighted(chains: Sequence[Chain], weight_K: Tensor) -> Chain:
    """Return the chain whose scores are the weighted sums of those of `chains`.

    A chain that lacks its input in a row says nothing of that row's positions.
    """
    longest = max(chain.emission_BTS.shape[1] for chain in chains)
    emissions = [
        F.pad(
            torch.where(chain.mask_BT[..., None], chain.emission_BTS, 0),
            (0, 0, 0, longest - chain.emission_BTS.shape[1]),
        )
        for chain in chains
    ]
    return Chain(
        _weighted_sum(emissions, weight_K),
        _lengths(chains),
        _weighted_sum([chain.first_S for chain in chains], weight_K),
        _weighted_sum([chain.step_SS for chain in chains], weight_K),
        _weighted_sum([chain.last_S for chain in chains], weight_K),
        is_linked=any(chain.is_linked for chain in chains),
    )


def _lengths(chains: Sequence[Chain]) -> Tensor:
    return torch.stack([chain.length_B for chain in chains]).amax(0)


def _weighted_sum(scores: Sequence[Tensor], weight_K: Tensor) -> Tensor:
    pairs: Any = zip(scores, weight_K.unbind(), strict=True)
    return sum((weight * part for part, weight in pairs), torch.zeros_like(scores[0]))


def _tags(token_BT: Tensor, chains: Sequence[Chain]) -> Tensor:
    """Return the tags of BOS..EOS rows at the chains' positions, (B, T); padding holds anything."""
    length = max(chain.emission_BTS.shape[1] for chain in chains)
    return F.pad((token_BT[:, 1 : length + 1] - UNK).clamp_min(0), (0, max(0, length + 1 - token_BT.shape[1])))
