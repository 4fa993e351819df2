import pytest


@pytest.fixture(autouse=True)
def _workers_are_forked(request: pytest.FixtureRequest) -> None:
    """Workers start in no time, but for tests of how they are started."""
    if request.node.get_closest_marker("started_workers") is None:
        request.getfixturevalue("forked_workers")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, and no data of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOURFOLD_DATA", raising=False)
    return tmp_path
