"""
Whitening batch norm
====================

Batch norm gives each component the variance 1 and leaves their correlations. Whitening batch norm also removes the
correlations between the four components of a quaternion.
"""

import matplotlib.pyplot as plt
import torch

import fourfold as ff

mixing = torch.linalg.cholesky(0.4 * torch.eye(4) + 0.6)
features = torch.einsum("ij,njchw->nichw", mixing, torch.randn(64, 4, 2, 8, 8)).flatten(1, 2)


def covariance(x):
    """Return the covariance of the components of the first quaternion."""
    return x.detach().unflatten(1, (4, 2))[:, :, 0].transpose(0, 1).flatten(1).cov().numpy()


layers = {
    "input": torch.nn.Identity(),
    "batch norm": ff.nn.BatchNorm2d(8, algebra="quaternion"),
    "whitening": ff.nn.WhiteningBatchNorm2d(8, affine=False),
}
fig, panels = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
for axes, (name, layer) in zip(panels, layers.items(), strict=True):
    image = axes.imshow(covariance(layer(features)), cmap="Blues", vmin=0, vmax=1)
    axes.set(title=name, xticks=range(4), yticks=range(4), xticklabels="rijk", yticklabels="rijk")
fig.colorbar(image, ax=panels, label="covariance")
plt.show()
