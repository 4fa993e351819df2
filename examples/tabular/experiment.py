"""A table of numbers: real, quaternion and learned (PHM) perceptrons on scikit-learn's breast-cancer data.

fourfold run examples/tabular/experiment.py --trials 3
"""

from sklearn.datasets import load_breast_cancer
from torch import nn

import fourfold as ff


def data():
    """Return 30 features of 569 tumours, and whether each is benign; a fifth of them is the test set."""
    table = load_breast_cancer()
    return ff.data.from_arrays((table.data, table.target), classes=list(table.target_names))


def net(algebra, inputs, outputs):
    """Return a perceptron; `Layers` makes the layers of any algebra, the learned one among them."""
    layers = ff.models.Layers(algebra=algebra)
    return nn.Sequential(
        layers.linear(inputs[0], 64),
        nn.ReLU(),
        layers.linear(64, 32),
        nn.ReLU(),
        nn.Linear(32, outputs),
    )


def experiment():
    """Return one experiment for each algebra: several are run as they are."""
    return [
        ff.presets.new(
            "tabular", data="experiment.py:data", model="experiment.py:net", algebra=algebra, epochs=20, max_level=12
        )
        for algebra in ("real", "quaternion", "phm")
    ]
