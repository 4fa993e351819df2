"""
The real matrix of a quaternion layer
=====================================

A quaternion layer stores a quarter of the weights of its real twin. Its real matrix has each weight four times, with signs.
"""

import matplotlib.pyplot as plt

import fourfold as ff

layer = ff.nn.Linear(16, 16, bias=False, algebra="quaternion")
matrix = layer.matrix().detach()
print(tuple(layer.weight.shape), tuple(matrix.shape))

plt.imshow(matrix, cmap="RdBu")
plt.show()
