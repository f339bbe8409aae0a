"""Train on a small table of pictures and questions, and ask.  Takes some seconds."""

import csv
import tempfile
from pathlib import Path

from PIL import Image

from sensorium import Sensorium

folder = Path(tempfile.mkdtemp())
colors = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
rows = []
for i in range(60):
    color = list(colors)[i % 3]
    Image.new("RGB", (16, 16), colors[color]).save(folder / f"{i}.png")
    rows += [(f"{i}.png", f"is it {asked}?", "yes" if asked == color else "no") for asked in colors]
with (folder / "table.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("photo", "question", "answer"), *rows])

config = {
    "data": {"train": "table.csv", "cache": ""},
    "inputs": {
        "photo": {"modality": "image", "encoder": "cnn", "size": 16, "channels": [8, 16], "grid": 1},
        "question": {"modality": "text", "encoder": "gru"},
    },
    "target": {"column": "answer"},
    "fusion": {"width": 32},
    "language": {"transformer": {"layers": 1, "width": 32}},
    "training": {"epochs": 40, "batch_rows": 16, "learning_rate": 0.004},
    "evaluation": {"baselines": False},
}

# The three lines:
model = Sensorium.from_config(config, folder).fit(folder / "run")
print(model.predict(photo=folder / "0.png", question="is it red?"))
print(model.score("yes", photo=folder / "0.png", question="is it red?"), "nats")
