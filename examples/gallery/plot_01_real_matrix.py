"""
The real matrix of a quaternion layer
=====================================

A quaternion layer stores a quarter of the weights of its real twin. Its real matrix contains each weight four times,
with the signs of quaternion multiplication.
"""

import matplotlib.pyplot as plt

import fourfold as ff

layer = ff.nn.Linear(16, 16, bias=False, algebra="quaternion")
matrix = layer.matrix().detach().numpy()
print(layer.weight.numel(), "stored weights,", matrix.size, "entries")

fig, axes = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
axes.imshow(matrix, cmap="RdBu", vmin=-abs(matrix).max(), vmax=abs(matrix).max())
axes.set(xlabel="input: 4 real parts, then i, j, k", ylabel="output", xticks=[0, 4, 8, 12], yticks=[0, 4, 8, 12])
axes.set_title("64 weights fill 256 entries")
plt.show()
