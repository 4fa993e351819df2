"""What a spec names, built in or user code: its data, its network and its task, measured and checked against each other."""

from fourfold.parts.building import build, example, input_shape, is_ours, shares, splits_of
from fourfold.parts.examining import check_fit, check_weights, measure, sizes_of_real_twin, uncounted
from fourfold.parts.named import (
    Facts,
    Source,
    components,
    digests,
    facts,
    has_validation,
    is_own_data,
    is_own_model,
    load,
    look_in,
    pinned,
    prepared,
    task_of,
)
from fourfold.parts.process_state import as_it_was
from fourfold.parts.user_errors import explained, in_a_trial, user_code

__all__ = [
    "Facts",
    "Source",
    "as_it_was",
    "build",
    "check_fit",
    "check_weights",
    "components",
    "digests",
    "example",
    "explained",
    "facts",
    "has_validation",
    "in_a_trial",
    "input_shape",
    "is_ours",
    "is_own_data",
    "is_own_model",
    "load",
    "look_in",
    "measure",
    "pinned",
    "prepared",
    "shares",
    "sizes_of_real_twin",
    "splits_of",
    "task_of",
    "uncounted",
    "user_code",
]
