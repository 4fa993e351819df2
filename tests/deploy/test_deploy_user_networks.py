"""Networks as users write them: which can be deployed, and that each is computed as in torch."""

import os
import re
import shutil

import pytest
from user_networks import NETWORKS, refusal_of

EVERY = 1 if int(os.environ.get("FOURFOLD_SWEEP", "24")) > 100 else 12
"""Each of so many is compiled and exported too."""

REFUSED = {
    "3-d convolution": r"conv3d|Conv3d",
    "scripted": "deploy the network that it was made from",
    "data-dependent": "mixes images",
}
"""In float32 and in int8, and why."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_deployed_or_refused_for_a_reason(name, tmp_path):
    compiled = list(NETWORKS).index(name) % EVERY == 0 and shutil.which("gcc") is not None
    if compiled:
        pytest.importorskip("onnxruntime")
    for found in refusal_of(name, compiled, tmp_path):
        if name in REFUSED:
            assert re.search(REFUSED[name], found)
        else:
            assert found == ""


def test_most_can_be_deployed():
    assert len(NETWORKS) - len(REFUSED) >= 100
