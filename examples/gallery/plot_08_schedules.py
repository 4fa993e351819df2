"""
Densities of a schedule
=======================

Lottery tickets are pruned level by level. Gradual pruning removes the same weights within one training run, along the
cubic curve of Zhu & Gupta (2017).
"""

import matplotlib.pyplot as plt

import fourfold as ff

steps = range(0, 1001, 10)
gradual = [ff.pruning.gradual_density(step, begin=200, end=800, final=0.05) for step in steps]
fraction = ff.presets.get("lenet-300-100-mnist").prune.fraction
levels = [(1 - fraction) ** level for level in range(15)]

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
left.stairs(levels, range(16), color="#0b57a4")
left.set(xlabel="level", ylabel="density", yscale="log", title=f"paper 1: {100 * fraction:.0f} % removed per level")
right.plot(steps, gradual, color="#0b57a4")
right.set(xlabel="optimiser step", title="gradual: to 5 % within one run")
plt.show()
