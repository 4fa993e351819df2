"""
A lottery on the digits
=======================

A complete experiment per algebra: train, prune 60 % of the remaining weights, rewind, repeat. One trial with three
epochs per level only shows the path; `fourfold run digits --trials 3` is the experiment.
"""

import tempfile

import matplotlib.pyplot as plt

import fourfold as ff

fig, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
for algebra in ["real", "quaternion"]:
    spec = ff.presets.get("digits", algebra=algebra)
    spec = ff.record.with_fields(spec, {"train.epochs": 3, "prune.fraction": 0.6, "stop.max_level": 4})
    rows = ff.run(spec, trials=1, workers=0, out=tempfile.mkdtemp())
    axes.plot([100 * row.fraction_of_real for row in rows], [row.top1 for row in rows], "o-", label=algebra)
axes.set(
    xscale="log",
    xlabel="parameters, % of the real network",
    ylabel="test accuracy (%)",
    title="One trial, three epochs per level",
)
axes.invert_xaxis()
axes.legend(frameon=False)
plt.show()
