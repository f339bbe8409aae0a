"""A model whose encoders and neural scorers are ONNX graphs, answered by onnxruntime.

Enters: a model, and the folder of its graphs (`workflow.onnx_export`).  Leaves: a model that is asked like any
other: what is counted, mixed and searched is ours, and the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.commit import verify
from sensorium.core.errors import ModelError
from sensorium.core.types import Batch, Conditioning, Encoded, MediaBatch
from sensorium.core.vocabulary import Vocab
from sensorium.decoding.generate import generate
from sensorium.decoding.search import Greedy
from sensorium.model.multimodal import MultimodalLM
from sensorium.workflow.onnx_graph import Graph, Session, require_exporter
from sensorium.workflow.run_folder import GRAPHS


class OnnxEncoder(nn.Module):
    """An encoder's graph in its place; rows get their media, or the absent token, as ever."""

    def __init__(self, encoder: Any, session: Session) -> None:
        super().__init__()
        self.modality, self.width, self.outlet = encoder.modality, encoder.width, encoder.outlet
        self._session = session

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode: (B, T, width)."""
        if media.values.numel() == 0:
            encoded: Encoded = self.outlet.none(media.row_B)
            return encoded
        given = (media.values,) if media.mask_UT is None else (media.values, media.mask_UT)
        x_UTD, *mask = self._session(*given)
        handed: Encoded = self.outlet.handed(x_UTD, mask[0] if mask else None, media.row_B)
        return handed


@dataclass(frozen=True, slots=True)
class OnnxState:
    """A scorer's state as its graph has it, rows first."""

    tensors: tuple[Tensor, ...]


class OnnxScorer(nn.Module):
    """A neural scorer's two graphs as a scorer, one token a time."""

    fitted_by = "gradient"

    def __init__(self, vocab: Vocab, first: Session, following: Session) -> None:
        super().__init__()
        self.vocab = vocab
        self._first, self._following = first, following

    def start(self, cond: Conditioning) -> OnnxState:
        """Begin B rows; a memory of nothing is one position that is masked."""
        x_BMD, mask_BM = cond.memory.x_BTD, cond.memory.mask_BT
        return OnnxState(tuple(self._first(x_BMD, mask_BM)))

    def extend(self, state: OnnxState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, OnnxState]:
        """Feed T tokens, of which none is padding; returns log p(next) (B, V) and the new state.

        Raises:
            ModelError: rows of unequal length.
        """
        if not bool(mask_BT.all()):
            raise ModelError("graphs are fed rows of equal length")
        for t in range(token_BT.shape[1]):
            log_p_BV, *tensors = self._following(token_BT[:, t : t + 1], *state.tensors)
            state = OnnxState(tuple(tensors))
        return log_p_BV, state

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t), (B, T); 0 at BOS and at padding."""
        state, real_B1 = self.start(cond), torch.ones_like(mask_BT[:, :1])
        score_BT = torch.zeros(token_BT.shape)
        for t in range(token_BT.shape[1] - 1):
            log_p_BV, state = self.extend(state, token_BT[:, t : t + 1], real_B1)
            score_BT[:, t + 1] = log_p_BV.gather(1, token_BT[:, t + 1 : t + 2])[:, 0]
        return torch.where(mask_BT, score_BT, 0.0)


def with_graphs(model: MultimodalLM, folder: Path) -> MultimodalLM:
    """Put the graphs of `folder` in the place of a model's encoders and neural scorers; returns the model.

    Raises:
        ModelError: damaged, or graphs of another model.
        UsageError: the extra `export` is not installed.
    """
    require_exporter()
    verify(folder)
    graphs = json.loads((folder / GRAPHS).read_text(encoding="utf-8"))
    neural = {name for name, part in model.parts.items() if part.fitted_by == "gradient"}
    if graphs["encoders"].keys() != set(model.encoders) or graphs["scorers"].keys() != neural:
        raise ModelError("holds the graphs of another model", where=str(folder))
    for name, graph in graphs["encoders"].items():
        model.encoders[name] = OnnxEncoder(model.encoders[name], _session(folder, graph))
    for name, (first, following) in graphs["scorers"].items():
        scorer = OnnxScorer(model.vocab, _session(folder, first), _session(folder, following))
        if len(model.parts) == 1:
            model.scorer = scorer
        else:
            model.scorer.parts[list(model.parts).index(name)] = scorer
    return model.eval()


def _session(folder: Path, graph: dict[str, Any]) -> Session:
    return Session(folder, Graph(graph["file"], tuple(graph["inputs"]), tuple(graph["outputs"])))


@torch.inference_mode()
def greedy_tokens(model: MultimodalLM, batches: Sequence[Batch], max_tokens: int) -> list[list[int]]:
    """Write every row greedily, by all of the model's scorers; returns each row's tokens."""
    found = []
    for batch in batches:
        result = generate(model.scorer, model.condition(batch), search=Greedy(), max_tokens=max_tokens)
        for ids, mask in zip(result.token_BT.tolist(), result.mask_BT.tolist(), strict=True):
            found.append([token for token, real in zip(ids, mask, strict=True) if real])
    return found
