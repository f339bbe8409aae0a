"""A published BERT and a ResNet-18 from a file of weights, in one recipe, from start to end.

What is published cannot be shipped, so this script saves a tiny random BERT as its publishers would, and random
weights in torchvision's naming; with real ones in their places it is the same run.  Takes half a minute.
"""

import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from sensorium import Sensorium
from sensorium.core.config import override, read_toml
from sensorium.data.synthesis.scene_table import SceneOptions, write_scenes
from sensorium.encoders.image_resnet import BasicBlock, ResNet

WORDS = "is there a the what how many of left right above below circle square triangle red blue green yellow ?"
RECIPE = Path(__file__).parents[1] / "recipes" / "bert_resnet_gru.toml"


def save_bert(folder: Path) -> None:
    """Save a network, its configuration and its tokenizer, as `save_pretrained` and the hub lay them out."""
    vocab = {word: i for i, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS.split()])}
    made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **names).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocab), **sizes)).save_pretrained(folder)


folder = Path(tempfile.mkdtemp())
table = write_scenes(folder / "scenes", 80, seed=0, options=SceneOptions(size=64))
save_bert(folder / "bert")
torch.save(ResNet(BasicBlock, (2, 2, 2, 2), num_classes=1000).state_dict(), folder / "resnet18.pth")

recipe, _ = read_toml(RECIPE)
changes = [
    f'data.train="{table}"',
    f'data.cache="{folder / "cache"}"',
    f'inputs.question.encoder="hf:{folder / "bert"}"',
    f'inputs.photo.weights="{folder / "resnet18.pth"}"',
    "training.max_steps=6",
    "training.batch_rows=8",
    "evaluation.baselines=false",
]
model = Sensorium.from_config(override(recipe, changes), folder).fit(folder / "run")
photo = folder / "scenes" / "photos" / "000000.png"
print(model.predict(photo=photo, question="is there a red circle ?"))
print(model.predict(photo=photo))
