"""A folder of photos, one folder a class, of any size and format: drawn by draw.py when the example is run first.

fourfold run examples/photos/experiment.py --trials 3
"""

from pathlib import Path

from draw import main as draw_photos
from torch import nn

import fourfold as ff

PHOTOS = Path(__file__).parent / "photos"


def data():
    """Return RGB images of 32 × 32: decoded once, a fifth of them held out as the test set."""
    draw_photos(PHOTOS)
    return ff.data.from_folder(PHOTOS, size=32, resize="fit", components="grey", bad_images="skip")


def net(algebra, inputs, outputs):
    """Return a network of convolutions; `components="grey"` gives a quaternion red, green, blue and their grey."""
    layers = ff.models.Layers(algebra=algebra)
    return nn.Sequential(
        layers.convolution(inputs[0], 16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        layers.convolution(16, 32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 8 * 8, outputs),
    )


def experiment():
    """Return the experiment, whose images are cropped and flipped at random."""
    settings = {"data.flip": True, "data.crop": 2, "train.schedule": "cosine"}
    return ff.presets.new(
        "photos",
        data="experiment.py:data",
        model="experiment.py:net",
        epochs=25,
        batch_size=16,
        learning_rate=3e-3,
        max_level=6,
        settings=settings,
    )
