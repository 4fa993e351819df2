import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    """The data directory of this machine; tests with real files are skipped where there is none."""
    if not os.environ.get("FOURFOLD_DATA"):
        pytest.skip("FOURFOLD_DATA is not set: no real data here")
    return Path(os.environ["FOURFOLD_DATA"])
