"""
Components or whole quaternions
===============================

Pruning removes single components, or whole quaternions (`unit="element"`). Both masks keep a fifth of the weights. A
whole quaternion takes one index for four values, so a device runs it faster.
"""

import matplotlib.pyplot as plt
import torch

import fourfold as ff

fig, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for axes, unit in zip(panels, ["weight", "element"], strict=True):
    torch.manual_seed(0)
    layer = ff.nn.Linear(64, 64, algebra="quaternion")
    (mask,) = ff.pruning.prune(torch.nn.Sequential(layer), density=0.2, unit=unit).values()
    components = mask.view(4, 16, 16).sum(0).numpy()
    image = axes.imshow(components, cmap="Blues", vmin=0, vmax=4)
    axes.set(title=f'unit="{unit}": {int(mask.sum())} weights', xlabel="input quaternion", ylabel="output quaternion")
fig.colorbar(image, ax=panels, label="components kept", ticks=range(5))
plt.show()
