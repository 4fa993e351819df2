"""
What different scores keep
==========================

Four ways to rank weights, each keeping a quarter of an untrained Lenet-300-100. They distribute the kept weights
differently over the layers.
"""

import matplotlib.pyplot as plt
import torch

import fourfold as ff

images, labels = torch.rand(64, 1, 8, 8), torch.arange(64) % 10
fig, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
for number, score in enumerate(["magnitude", "snip", "synflow", "random"]):
    model = ff.models.build("lenet-300-100", algebra="real", shape=(1, 8, 8), num_classes=10, seed=0)
    masks = ff.pruning.prune(model, density=0.25, score=score, images=images, labels=labels)
    densities = [100 * mask.float().mean().item() for mask in masks.values()]
    axes.bar([layer + 0.2 * number - 0.3 for layer in range(3)], densities, width=0.18, label=score)
axes.set(xticks=range(3), xticklabels=list(masks), ylabel="kept weights (%)", title="a quarter of the network, by four scores")
axes.legend(frameon=False)
plt.show()
