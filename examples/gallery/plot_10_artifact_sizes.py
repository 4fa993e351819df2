"""
Sizes of an artifact
====================

One network, pruned to 12 % of its weights, packed with four kinds of values. `entropy=True` codes masks and small
values by their frequencies.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import fourfold as ff

model = ff.models.build("lenet-300-100", algebra="quaternion", shape=(1, 8, 8), num_classes=10, seed=0)
ff.pruning.prune(model, density=0.12)
images = torch.rand(32, 1, 8, 8)
dense = 4 * sum(parameter.numel() for parameter in model.parameters())

sizes = {}
for values in ["fp32", "fp16", "int8", "codebook"]:
    path = Path(tempfile.mkdtemp(), "ticket.safetensors")
    ff.deploy.pack(model, path, shape=(1, 8, 8), values=values, entropy=True, calibrate=images)
    sizes[values] = path.stat().st_size / 1000
fig, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
bars = axes.barh(list(sizes), list(sizes.values()), color="#0b57a4")
axes.bar_label(bars, fmt="%.1f", padding=3)
axes.invert_yaxis()
axes.set(xlabel="kB", xlim=(0, 1.15 * max(sizes.values())), title=f"The dense network has {dense / 1000:.0f} kB")
plt.show()
