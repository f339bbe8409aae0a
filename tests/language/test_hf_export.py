"""Published language models that were trained here, written as transformers lays them out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from published_writers import DECODERS, save_published
from published_writers import TEXTS as TRAINED
from transformers import AutoModelForCausalLM, AutoTokenizer

from sensorium import Sensorium
from sensorium.cli.main import main
from sensorium.core.errors import ModelError, UsageError
from sensorium.core.lora import LoraLinear
from sensorium.core.vocabulary import EOS
from sensorium.language.hf import PublishedLM
from sensorium.workflow.exporting import export_published

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}
TEXTS = ["a red bike", "two dogs run over the grass"]


def run(folder: Path, kind: str, options: dict, *, scorers=("hf:lm", "ngram"), **target) -> PublishedLM:
    """Train for three steps in `folder`/run; returns the scorer."""
    save_published(kind, folder / "lm")
    rows = ["photo,caption"]
    for i in range(12):
        name = list(COLOURS)[i % 2]
        Image.fromarray(np.full((16, 16, 3), COLOURS[name], np.uint8)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,a {name} bike")
    (folder / "photos.csv").write_text("\n".join(rows) + "\n")
    config = {
        "data": {"train": "photos.csv", "cache": ""},
        "inputs": {"photo": {"modality": "image", "encoder": "cnn", "size": 16, "channels": [8, 8]}},
        "target": {"column": "caption", "task": "caption", **target},
        "fusion": {"width": 16},
        "language": {"scorers": list(scorers), "hf": options},
        "training": {"max_steps": 3, "batch_rows": 8, "learning_rate": 0.05},
        "evaluation": {"baselines": False, "report": False},
        "decoding": {"max_tokens": 6},
    }
    model = Sensorium.from_config(config, folder).fit(folder / "run").predictor.model.eval()
    return next(part for part in model.scorer.modules() if isinstance(part, PublishedLM))


def write(folder: Path, kind: str, options: dict) -> Sensorium:
    """Train a language model of text alone."""
    save_published(kind, folder / "lm")
    (folder / "texts.txt").write_text("\n".join(TRAINED * 6) + "\n")
    config = {
        "data": {"train": "lines:texts.txt", "cache": ""},
        "inputs": {},
        "target": {"column": "text", "task": "write"},
        "language": {"scorers": ["hf:lm"], "hf": options},
        "training": {"max_steps": 6, "batch_rows": 8, "learning_rate": 0.05},
        "evaluation": {"baselines": False, "report": False},
    }
    return Sensorium.from_config(config, folder).fit(folder / "run")


@pytest.mark.parametrize("options", [{"frozen": False}, {"lora": {"rank": 2}}], ids=["whole", "adapters"])
@pytest.mark.parametrize("kind", DECODERS)
def test_a_language_model_of_text_alone_leaves_nothing_behind(kind: str, options: dict, tmp_path: Path) -> None:
    ours = write(tmp_path, kind, options)
    written = export_published(tmp_path / "run", tmp_path / "out")
    assert not written.left_behind
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    scorer = ours.predictor.model.scorer.eval()
    for text in TRAINED:
        ids = [
            scorer.lead[0],
            *tokenizer(text, add_special_tokens=False)["input_ids"],
            scorer.vocab.source_ids[EOS],
        ]
        with torch.no_grad():
            logits = network(torch.tensor([ids])).logits[0, :-1]
        never = [
            n for n in range(logits.shape[1]) if n not in scorer.vocab.source_ids[EOS:]
        ]  # signs that no text has
        logits[:, never] = -torch.inf
        log_p = logits.log_softmax(-1)
        theirs = log_p.gather(1, torch.tensor(ids[1:])[:, None]).sum().item()
        assert ours.score(text) == pytest.approx(theirs, abs=2e-3), text


CASES = {
    "gpt2 with adapters": ("gpt2", {"lora": {"rank": 2}}, {}),
    "gpt2 whole": ("gpt2", {"frozen": False}, {}),
    "llama of seen tokens": ("llama", {"lora": {"rank": 2}}, {"keep": "seen"}),
    "llama seen by gates": ("llama", {"conditioning": "cross_attention", "frozen": False}, {}),
    "qwen2 with rows of no token": ("qwen2", {"frozen": False}, {}),
    "opt": ("opt", {"lora": {"rank": 2}}, {}),
    "bloom": ("bloom", {"lora": {"rank": 2}}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_transformers_opens_it_and_it_says_the_same(case: str, tmp_path: Path) -> None:
    kind, options, target = CASES[case]
    scorer = run(tmp_path, kind, options, **target)
    written = export_published(tmp_path / "run", tmp_path / "out")
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    published = AutoModelForCausalLM.from_pretrained(tmp_path / "lm").eval()
    assert written.num_parameters == sum(p.numel() for p in network.parameters())
    assert {n: p.shape for n, p in network.named_parameters()} == {
        n: p.shape for n, p in published.named_parameters()
    }
    theirs, again = (AutoTokenizer.from_pretrained(tmp_path / name) for name in ("lm", "out"))
    vocab = scorer.vocab
    ours = {number: i for i, number in enumerate(vocab.source_ids) if i >= 4}
    assert bool(written.merged) == ("lora" in options)
    with torch.no_grad():
        for text in TEXTS[:1] if target else TEXTS:
            numbers = again(text, add_special_tokens=False)["input_ids"]
            assert numbers == theirs(text, add_special_tokens=False)["input_ids"]
            said = network(torch.tensor([numbers])).logits
            want = scorer.network(input_ids=torch.tensor([[ours[n] for n in numbers]])).logits
            known = [i for i, number in enumerate(vocab.source_ids) if number >= 0 and i >= 4] + [EOS]
            there = said[..., [vocab.source_ids[i] for i in known]]
            torch.testing.assert_close(there, want[..., known], rtol=1e-3, atol=1e-3)
            before = published(torch.tensor([numbers])).logits
            assert float((said - before).abs().max()) > 1e-2, "and not what it said before it was trained"


def test_the_run_itself_stays_as_it_was(tmp_path: Path) -> None:
    scorer = run(tmp_path, "gpt2", {"lora": {"rank": 2}})
    before = {name: x.clone() for name, x in scorer.state_dict().items()}
    from sensorium.data.tokenizers.hf import HfTokenizer
    from sensorium.language.hf_export import write_published

    tokenizer = HfTokenizer(HfTokenizer.Config(source=str(tmp_path / "lm"))).fit(())
    (tmp_path / "out").mkdir()
    write_published(scorer, tokenizer, tmp_path / "out")
    assert any(isinstance(part, LoraLinear) for part in scorer.network.modules())
    assert all(torch.equal(x, before[name]) for name, x in scorer.state_dict().items())


def test_where_the_source_is_gone(tmp_path: Path) -> None:
    whole, seen = tmp_path / "whole", tmp_path / "seen"
    for folder, target in ((whole, {}), (seen, {"keep": "seen"})):
        folder.mkdir()
        run(folder, "qwen2", {"lora": {"rank": 2}}, **target)
        shutil.rmtree(folder / "lm")
    written = export_published(whole / "run", whole / "out")
    assert written.num_rows_made == 5, "numbers without a token"
    with pytest.raises(ModelError, match="kept only the tokens that it saw"):
        export_published(seen / "run", seen / "out")
    assert not (seen / "out").exists()


def test_refused(tmp_path: Path) -> None:
    run(tmp_path, "t5", {"frozen": False}, scorers=["hf:lm"])
    with pytest.raises(ModelError, match="a 't5' reads what its encoder says"):
        export_published(tmp_path / "run", tmp_path / "out")
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        export_published(tmp_path / "run", tmp_path / "there")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, "gpt2", {"lora": {"rank": 2}})
    capsys.readouterr()
    arguments = ["sensorium", "export", str(tmp_path / "run"), "--hf", str(tmp_path / "out"), "--json"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    facts = json.loads(capsys.readouterr().out)
    assert facts["folder"] == str(tmp_path / "out")
    assert facts["merged"] > 0
    assert (tmp_path / "out" / "model.safetensors").is_file()
