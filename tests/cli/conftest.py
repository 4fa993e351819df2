import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, and no data of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FOURFOLD_DATA", raising=False)
    return tmp_path


@pytest.fixture
def quick_plan(monkeypatch):
    """Plans without half a second of timing for each network."""
    from fourfold.timing.clock import Clock

    monkeypatch.setattr(Clock, "level_seconds", lambda self, spec, density=1.0: 0.24)
