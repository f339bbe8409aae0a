"""A trained published language model, back in the layout it was published in.

Enters: a fitted `PublishedLM` and its tokenizer.  Leaves: a folder that `AutoModelForCausalLM` and `AutoTokenizer`
open: adapters merged into the layers they adapt, word vectors and output layer in the tokenizer's own order.

What conditioned it (a prefix, gated layers) has no place there: what leaves is the language model alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as Engine
from torch import Tensor

from sensorium.core.errors import ModelError
from sensorium.core.lora import merge_lora
from sensorium.core.vocabulary import BOS, EOS, PAD, SPECIAL_TOKENS
from sensorium.data.published import import_transformers, quietly
from sensorium.data.tokenizers.hf import HfTokenizer
from sensorium.language import hf_network
from sensorium.language.hf import PublishedLM


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        num_parameters: of the network.
        merged: layers whose adapters were merged into them.
        num_rows_taken: word vectors of tokens that the run left out, taken from the source again.
        num_rows_made: word vectors of no token, or of one that the run left out and no source has: the mean.
        left_behind: what the run's texts depend on beside the network (a prefix, gated layers) stays in the run.
    """

    num_parameters: int
    merged: tuple[str, ...]
    num_rows_taken: int
    num_rows_made: int
    left_behind: bool


@torch.no_grad()
def write_published(scorer: PublishedLM, tokenizer: HfTokenizer, folder: Path) -> Written:
    """Write network, configuration and tokenizer into `folder`.

    Raises:
        ModelError: a network that reads a memory by cross-attention of its own; one that keeps only the tokens it
            has seen, where the source that has the others is gone; or what was made computes something else.
    """
    architecture = scorer.architecture
    if scorer.has_cross_attention:
        what = f"a '{architecture['model_type']}' reads what its encoder says, and the run has no such encoder"
        raise ModelError(what, where="language.hf", advice="networks that write by themselves can be exported")
    network = copy.deepcopy(scorer.network)
    own = network.state_dict(keep_vars=True)
    merged = merge_lora(network)  # in place: `own` holds the merged tensors, under the names before
    made = _made(architecture)
    rows = _Rows(scorer, tokenizer, made, hf_network.vocabulary_axes(architecture))
    state = made.state_dict()
    for name, published_name in scorer.published_names.items():
        target, found = state[published_name], own[name].detach().to(state[published_name].dtype)
        target.copy_(rows.placed(found, published_name, target) if published_name in rows.axes else found)
    numbers = hf_network.numbers_of(scorer.vocab, scorer.lead, architecture, scorer.config.source)
    numbers[[PAD, BOS]] = -1  # may share a row with EOS there
    first = len(SPECIAL_TOKENS)
    hf_network.require_agreement(network.eval(), made.eval(), architecture, numbers, str(folder), first=first)
    with quietly():
        made.save_pretrained(folder)
        _published_tokenizer(tokenizer).save_pretrained(folder)
    num_parameters = sum(parameter.numel() for parameter in made.parameters())
    return Written(num_parameters, tuple(merged), rows.num_taken, rows.num_made, scorer.is_conditioned)


class _Rows:
    """Bring rows in our order into the tokenizer's; those we lack come from the source, or are the mean.

    Args:
        scorer: what was trained.
        tokenizer: whose tokens it writes.
        made: the published network, to be filled.
        axes: the axis along which the vocabulary lies, by the names of the tensors that have one.
    """

    def __init__(self, scorer: PublishedLM, tokenizer: HfTokenizer, made: Any, axes: Mapping[str, int]) -> None:
        self.axes = axes
        self.num_taken = self.num_made = 0
        self._scorer, self._tokenizer = scorer, tokenizer
        self._input = made.get_input_embeddings().weight
        output = made.get_output_embeddings()
        self._is_tied = output is not None and output.weight is self._input
        self._source: Mapping[str, Tensor] | None = None

    def placed(self, found: Tensor, name: str, target: Tensor) -> Tensor:
        """Return a tensor like `target`.  Raises ModelError."""
        axis = self.axes[name]
        rows_V, place_V = found.movedim(axis, 0), self._places(target)
        known = [v for v, place in enumerate(place_V) if place >= 0]
        placed = rows_V.mean(0, keepdim=True).expand(target.movedim(axis, 0).shape).clone()
        missing = sorted(set(range(len(placed))) - {place_V[v] for v in known})
        if missing and (source := self._of_source()) is not None:
            placed[missing] = source[name].movedim(axis, 0)[missing].to(placed.dtype)
            self.num_taken = len(missing)
        else:
            self.num_made = len(missing)
        for v in known:  # in order: where two of ours are one there, the latter stays
            placed[place_V[v]] = rows_V[v]
        return placed.movedim(0, axis)

    def _places(self, target: Tensor) -> list[int]:
        """Return by our tokens' ids their places there, -1 for none."""
        places = list(self._scorer.vocab.source_ids)
        places[PAD] = -1  # our padding's row was never read
        if places[BOS] < 0 and len(self._scorer.lead) == 1:
            places[BOS] = self._scorer.lead[0]  # no sign of its own: texts begin with another's
        if places[BOS] == places[EOS]:
            # The sign to begin with is read and the one to end with is written: each where it counts.
            is_read = target.data_ptr() == self._input.data_ptr() and not self._is_tied
            places[EOS if is_read else BOS] = -1
        return places

    def _of_source(self) -> Mapping[str, Tensor] | None:
        """Return the published weights; None where the run did not begin with any, or nothing is lost without."""
        config = self._scorer.config
        if not config.pretrained:
            return None
        if self._source is None:
            try:
                self._source = hf_network.published_network(config.source, config.revision).state_dict()
            except ModelError as error:
                if self._tokenizer.keeps_all:
                    return None
                what = "the run kept only the tokens that it saw, and the others' vectors are the source's"
                advice = f"bring '{config.source}' back ({error.what})"
                raise ModelError(what, where="language.hf", advice=advice) from None
        return self._source


def _made(architecture: Mapping[str, Any]) -> Any:
    """Make the published network, as large as it was published."""
    library, values = import_transformers(), dict(architecture)
    config = library.AutoConfig.for_model(values.pop("model_type"), **values)
    with quietly():
        return library.AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)


def _published_tokenizer(tokenizer: HfTokenizer) -> Any:
    engine = Engine.from_str(tokenizer.engine_json)
    names = {f"{role}_token": engine.id_to_token(number) for role, number in tokenizer.special_ids.items()}
    return import_transformers().PreTrainedTokenizerFast(tokenizer_object=engine, **names)
