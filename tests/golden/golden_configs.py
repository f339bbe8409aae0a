"""The configs of the golden runs: as small as they can be while every part has something to say."""

from __future__ import annotations

_PHOTO = """
[inputs.photo]
modality = "image"
encoder = "cnn"
size = 8
channels = [4]
grid = 2
"""
_QUESTION = """
[inputs.question]
modality = "text"
encoder = "gru"
embedding = 4
hidden = 6
"""
_TRANSFORMER = """
layers = 1
width = 8
heads = 2
"""
_TRAINING = """
[fusion]
features = "concat"
width = 8
[training]
epochs = {epochs}
batch_rows = 12
learning_rate = 0.02
keep_checkpoints = 1
[evaluation]
baselines = false
report = false
"""


def _data(train: str) -> str:
    return f'[data]\ntrain = "{train}"\nvalidation_fraction = 0.25\ncache = ""\n'


HOLES = (
    _data("shapes.csv") + _PHOTO + _QUESTION + '[target]\ncolumn = "answer"\n'
    '[language]\nscorers = ["transformer", "ngram"]\nmix = "gate"\n[language.transformer]'
    + _TRANSFORMER + _TRAINING.format(epochs=30)
)  # fmt: skip

TASKS = (
    _data("shapes.csv") + _PHOTO + _QUESTION + '[language.transformer]' + _TRANSFORMER
    + '[tasks.answer.target]\ncolumn = "answer"\n'
    '[tasks.ask]\ninputs = ["photo"]\nweight = 0.5\n[tasks.ask.target]\ncolumn = "question"\ntask = "caption"\n'
    '[tasks.ask.decoding]\nsearch = "beam"\nbeam_width = 2\nmax_tokens = 6\n[tasks.ask.language]\nscorers = ["transformer", "ngram"]\n'
    '[tasks.ask.language.transformer]' + _TRANSFORMER
    + '[tasks.find]\ninputs = ["photo", "question"]\n[tasks.find.target]\ntask = "retrieve"\n'
    + _TRAINING.format(epochs=15)
)  # fmt: skip

PRETRAINING = (
    _data("shapes.csv") + _PHOTO + _QUESTION + "[objectives]\nmasked = { photo = 0.5, question = 0.3 }\nheads = 2\n"
    '[objectives.matching]\ninputs = ["photo", "question"]\n'
    '[fusion.alignment]\ninputs = ["photo", "question"]\n' + _TRAINING.format(epochs=4)
)

CTC = (
    _data("tones.csv") + '[inputs.sound]\nmodality = "audio"\nencoder = "gru"\nrate_hz = 8000\nnum_mels = 12\n'
    "hop_ms = 20\nstack = 2\nstride = 2\nhidden = 12\nlayers = 1\n"
    '[target]\ncolumn = "text"\ntask = "transcribe"\n[language]\nscorers = ["ctc", "ngram"]\nmix = "product"\n'
    "weights = [1.0, 0.3]\n[decoding.ctc]\nalpha = 0.2\n" + _TRAINING.format(epochs=40)
)

CRF = (
    _data("conll:tags.txt") + '[inputs.tokens]\nmodality = "text"\nencoder = "token_features"\n'
    'templates = ["0[0]", "1[0]", "0[-1]|0[0]"]\n[target]\ncolumn = "tags"\ntask = "tag"\nscheme = "bioes"\n'
    '[language]\nscorers = ["crf"]\n[language.crf]\nproject = false\n' + _TRAINING.format(epochs=6)
)

LESSON = (
    _data("captions.csv") + _PHOTO + '[target]\ncolumn = "caption"\ntask = "caption"\ntokenizer = "character"\n'
    '[language]\nscorers = ["transformer", "ngram"]\n[language.transformer]' + _TRANSFORMER
    + '[language.ngram]\norder = 4\n[decoding]\nsearch = "beam"\nbeam_width = 3\nmax_tokens = 24\n[media]\nmax_pixels = 10000\n'
    + _TRAINING.format(epochs=20)
)  # fmt: skip

PUBLISHED = (
    _data("captions.csv") + _PHOTO + '[target]\ncolumn = "caption"\ntask = "caption"\n'
    '[language]\nscorers = ["hf:lm"]\n[language.hf]\nlora = { rank = 2 }\n[decoding]\nmax_tokens = 8\n'
    + _TRAINING.format(epochs=3)
)  # fmt: skip

RUNS = {
    "holes": HOLES,
    "tasks": TASKS,
    "pretraining": PRETRAINING,
    "ctc": CTC,
    "crf": CRF,
    "lesson": LESSON,
    "published": PUBLISHED,
}
