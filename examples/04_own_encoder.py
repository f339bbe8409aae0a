"""An encoder of one's own: one class, proven by the public contract suite.

In a package of your own, register it under an entry point and name it in any config:

    [project.entry-points."sensorium.encoders"]
    "image.average" = "my_package:AverageColor"
"""

import torch
from torch import nn

from sensorium.core.config import Section
from sensorium.core.types import Encoded, MediaBatch, per_row
from sensorium.data.image_preparer import ImagePreparer
from sensorium.testing import check_encoder


class AverageColor(nn.Module):
    """See nothing of a picture but its average colour."""

    modality = "image"

    class Config(Section):
        """How large pictures are read."""

        size: int = 8

        def preparer(self):
            """Say how a picture becomes a tensor."""
            return ImagePreparer(size=self.size)

    def __init__(self, config, preparer, width):
        super().__init__()
        self.width = width
        self.project = nn.Linear(3, width)
        self.absent_D = nn.Parameter(torch.zeros(width))

    def forward(self, media: MediaBatch) -> Encoded:
        """Encode each distinct picture once, and hand it to its rows."""
        color_U3 = media.values.float().flatten(2).mean(2) / 255
        return per_row(self.project(color_U3)[:, None], None, media.row_B, self.absent_D)


def make_encoder():
    config = AverageColor.Config()
    return AverageColor(config, config.preparer(), 12)


def make_media(num_media):
    values = torch.randint(0, 256, (num_media, 3, 8, 8), dtype=torch.uint8)
    return MediaBatch(values, None, row_B=torch.arange(num_media))


if __name__ == "__main__":
    check_encoder(make_encoder, make_media)
    print("AverageColor keeps the contract")
