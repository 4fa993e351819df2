"""Which weights are kept: scores, masks, budgets, schedules and storage. Pure functions on `dict[str, Tensor]`."""

from fourfold.pruning._prune import choose, prune
from fourfold.pruning._select import SCOPES, keep_largest, magnitude, select, select_n_of_m
from fourfold.pruning._shrink import shrink
from fourfold.pruning.budgets import BUDGETS, FoundDensity, prune_to_latency, select_macs
from fourfold.pruning.choice import Choice, Shares, shares_of
from fourfold.pruning.counts import apportion, erdos_renyi_shares, num_kept
from fourfold.pruning.derivatives import flow_gradients, gradients, gradients_of_images, hessian_times
from fourfold.pruning.masks import (
    Masks,
    apply_,
    collapsed,
    compress,
    dense,
    expand_,
    fingerprint,
    kept,
    matched,
    pack,
    stored_bytes,
    unpack,
)
from fourfold.pruning.overlap import mask_overlap
from fourfold.pruning.schedules import gradual_density
from fourfold.pruning.scores import (
    fisher_scores,
    gradient_scores,
    grasp_scores,
    magnitude_scores,
    random_scores,
    snip_scores,
    taylor_scores,
)
from fourfold.pruning.scoring import NEED_IMAGES, NEED_LABELS, SCORES
from fourfold.pruning.units import UNITS, Units, units_of
from fourfold.record.aliases import alias_modules

__all__ = [
    "BUDGETS",
    "NEED_IMAGES",
    "NEED_LABELS",
    "SCOPES",
    "SCORES",
    "UNITS",
    "Choice",
    "FoundDensity",
    "Masks",
    "Shares",
    "Units",
    "apply_",
    "apportion",
    "choose",
    "collapsed",
    "compress",
    "dense",
    "erdos_renyi_shares",
    "expand_",
    "fingerprint",
    "fisher_scores",
    "flow_gradients",
    "gradient_scores",
    "gradients",
    "gradients_of_images",
    "gradual_density",
    "grasp_scores",
    "hessian_times",
    "keep_largest",
    "kept",
    "magnitude",
    "magnitude_scores",
    "mask_overlap",
    "matched",
    "num_kept",
    "pack",
    "prune",
    "prune_to_latency",
    "random_scores",
    "select",
    "select_macs",
    "select_n_of_m",
    "shares_of",
    "shrink",
    "snip_scores",
    "stored_bytes",
    "taylor_scores",
    "units_of",
    "unpack",
]

alias_modules(__name__, "prune", "select", "shrink")
