"""
Rotations
=========

A unit quaternion is a rotation. `slerp` moves between two rotations along the shortest path, at constant speed;
`rotate` applies one to a vector. All functions are batched and differentiable.
"""

import matplotlib.pyplot as plt
import torch

import fourfold as ff

start = ff.algebra.from_axis_angle(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(0.0))
end = ff.algebra.from_axis_angle(torch.tensor([0.0, 1.0, 1.0]), torch.tensor(2.5))
rotations = ff.algebra.slerp(start, end, torch.linspace(0, 1, 25))
points = ff.algebra.rotate(rotations, torch.tensor([1.0, 0.0, 0.0]))
print(f"{points.norm(dim=-1).min():.6f} to {points.norm(dim=-1).max():.6f}: rotations keep lengths")

axes = plt.figure(figsize=(4.5, 4.5)).add_subplot(projection="3d")
axes.view_init(elev=25, azim=70)
axes.plot(*points.T, "o-", color="#0b57a4", markersize=3)
axes.quiver(*torch.zeros(3), *points[0], color="black", arrow_length_ratio=0.1)
axes.quiver(*torch.zeros(3), *points[-1], color="#c2410c", arrow_length_ratio=0.1)
axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1), title="from black to orange in equal steps")
plt.show()
