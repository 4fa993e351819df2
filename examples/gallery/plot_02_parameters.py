"""
Parameters in every algebra
===========================

The same network, Conv-4, in four algebras. Sizes are in real neurons, so the networks have the same shapes, and an
algebra of dimension n stores about an n-th of the weights. The output layer stays real.
"""

import matplotlib.pyplot as plt

import fourfold as ff

names = ["real", "complex", "quaternion", "octonion"]
models = [ff.models.build("conv4", algebra=name, num_classes=10, device="meta") for name in names]
millions = [sum(parameter.numel() for parameter in model.parameters()) / 1e6 for model in models]

fig, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
bars = axes.barh(names, millions, color="#0b57a4")
axes.bar_label(bars, fmt="%.2f", padding=3)
axes.invert_yaxis()
axes.set(xlabel="million parameters", xlim=(0, 2.8), title="A quaternion Conv-4 stores a quarter of the parameters")
plt.show()
