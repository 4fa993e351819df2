"""
Convert a network
=================

`fourfold.convert` replaces the layers of a PyTorch network. Layers whose sizes do not divide by four stay real, and so
does the last one.
"""

import matplotlib.pyplot as plt
from torch import nn

import fourfold as ff

network = nn.Sequential(
    nn.Conv2d(4, 32, 3),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(2),
    nn.Flatten(),
    nn.Linear(256, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
converted = ff.convert(network)
print(converted)

layers = [(name, layer) for name, layer in network.named_children() if hasattr(layer, "weight")]
names = [f"{name}: {type(layer).__name__}" for name, layer in layers]
before = [layer.weight.numel() for _, layer in layers]
after = [converted.get_submodule(name).weight.numel() for name, _ in layers]
fig, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.barh(names, before, color="#cbd5e1", label="before")
axes.barh(names, after, color="#0b57a4", label="after", height=0.5)
axes.invert_yaxis()
axes.set(xlabel="weights", title="Every layer but the last stores a quarter")
axes.legend(frameon=False)
plt.show()
