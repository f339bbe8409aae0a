"""A model of several tasks on disk: one committed folder; what tasks share is in it once.

model/
  config.toml            [inputs], [fusion] and [tasks.NAME], defaults written out; [media], what may be opened
  inputs/NAME/           what each input's preparer learned
  tasks/NAME/target/     the task's tokenizer
  tasks/NAME/answers.json  its distinct training targets, if it is closed
  weights.safetensors    every parameter and every counted table
  README.md              the card
  manifest.json          sizes and SHA-256, written last
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sensorium.core.commit import committed_folder, verify
from sensorium.core.config import read_toml, write_toml
from sensorium.core.errors import ModelError
from sensorium.decoding.config import DecodingConfig
from sensorium.media.policy import MediaPolicy
from sensorium.model.config_reading import plain
from sensorium.model.multimodal import MultimodalLM
from sensorium.model.multitask import MultiTaskLM, build_models
from sensorium.model.precision import fill, packed, precision_section, read_precision
from sensorium.model.saving import (
    CARD,
    MODEL,
    WEIGHTS,
    build_preparers,
    build_tokenizer,
    read_policy,
    use_sections,
    write_beside,
)
from sensorium.model.tasks_config import dump_tasks, parse_tasks

Answers = Mapping[str, list[str] | None]
_OF_TRAINING = "log_variance."


def save_tasks(
    model: MultiTaskLM,
    folder: Path,
    *,
    answers: Answers,
    card: str,
    decoding: Mapping[str, DecodingConfig],
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Commit `model` to `folder`, replacing an older one only when the new one is whole.

    The learned weights of its tasks' losses are not part of it.

    Args:
        decoding: how each task writes, if it is open.
        beside: files by name, such as what its tasks were taught after fitting, no part of the model itself.

    Raises:
        UsageError: `folder` holds something else than a model.
        DiskError: no space or no permission.
    """
    models = model.models
    with committed_folder(folder, MODEL) as draft:
        preparers = {name: preparer for one in models.values() for name, preparer in one.preparers.items()}
        dumped = dump_tasks({name: one.config for name, one in models.items()})
        for name, section in dumped["tasks"].items():
            section["decoding"] = plain(decoding[name])
        values = {**precision_section(model.precision), **dumped, **use_sections(preparers.values())}
        (draft / "config.toml").write_text(write_toml(values), encoding="utf-8")
        for name, preparer in preparers.items():
            (draft / "inputs" / name).mkdir(parents=True)
            preparer.save(draft / "inputs" / name)
        for name, one in models.items():
            (draft / "tasks" / name / "target").mkdir(parents=True)
            one.tokenizer.save(draft / "tasks" / name / "target")
            if (known := answers.get(name)) is not None:
                text = json.dumps(known, ensure_ascii=False)
                (draft / "tasks" / name / "answers.json").write_text(text, encoding="utf-8")
        save_file(packed(model, _fitted_tensors(model), model.precision), draft / WEIGHTS)
        write_beside(draft, beside)
        (draft / CARD).write_text(card, encoding="utf-8")


def holds_tasks(folder: Path) -> bool:
    """Say whether a model folder holds a model of several tasks."""
    return (folder / "tasks").is_dir()


def load_tasks(
    folder: Path, *, default_tokenizer: Mapping[str, str], check: bool = True, policy: MediaPolicy | None = None
) -> tuple[MultiTaskLM, dict[str, list[str] | None]]:
    """Load a committed model folder; returns the model in evaluation mode, and each task's answers if it is closed.

    Args:
        policy: what media may be opened; None: as the folder's own config says.

    Raises:
        ModelError: damaged, or of parts that do not fit each other.
    """
    if check:
        verify(folder)
    values, source = read_toml(folder / "config.toml")
    configs = parse_tasks(values, source, default_tokenizer=default_tokenizer)
    policy = policy or read_policy(values, source)
    preparers = {
        name: preparer for config in configs.values() for name, preparer in build_preparers(config, policy).items()
    }
    for name, preparer in preparers.items():
        preparer.load(folder / "inputs" / name)
    tokenizers = {n: build_tokenizer(c).load(folder / "tasks" / n / "target") for n, c in configs.items()}
    model = MultiTaskLM(build_models(configs, preparers, tokenizers))
    model.precision = read_precision(values, source)
    for one in model.models.values():
        one.precision = model.precision
    try:
        fill(model, load_file(folder / WEIGHTS), model.precision)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelError(f"weights do not fit: {error}", where=str(folder)) from None
    model.eval()
    return model, {name: _answers(folder / "tasks" / name / "answers.json") for name in configs}


def _answers(path: Path) -> list[str] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _fitted_tensors(model: MultiTaskLM) -> dict[str, torch.Tensor]:
    with ExitStack() as untaught:
        for one in model.models.values():
            untaught.enter_context(_untaught(one))
        state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(_OF_TRAINING)}
        return {name: tensor.detach().contiguous().clone() for name, tensor in state.items()}


@contextmanager
def _untaught(model: MultimodalLM) -> Iterator[None]:
    taught = model.taught
    if taught:
        model.teach(())
    try:
        yield
    finally:
        if taught:
            model.teach(taught)
