"""One process works on a run; its lock dies with it, however it dies."""

import shutil
import signal
import subprocess
import sys

import pytest
from record_samples import make_row, make_spec

from fourfold.record import RunStore, UserError

HOLD = """
import sys, time
from pathlib import Path
from fourfold.record import RunStore
with RunStore(Path(sys.argv[1])).lock("run"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def store(tmp_path):
    return RunStore.create(tmp_path, make_spec())


@pytest.fixture
def holder(store):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(store.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def take(store, name="run", wait_seconds=0):
    with store.lock(name, wait_seconds):
        return True


def test_a_second_process_gets_one_sentence(store, holder):
    with pytest.raises(
        UserError, match=r"^another process is working on .*sample-real-\w+; wait for it, or use another --out$"
    ):
        take(store)
    assert store.locked("run")


def test_a_lock_dies_with_kill_9(store, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert take(store, wait_seconds=5)
    assert not store.locked("run")


def test_a_lock_is_of_one_name(store, holder):
    assert take(store, "trial-0")
    assert not store.locked("trial-0")


def test_a_waiting_process_gets_the_lock_when_it_is_free(store, holder):
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {holder.pid}"])
    assert take(store, wait_seconds=30)
    killer.wait()


def test_a_lock_is_free_after_an_error(store):
    with pytest.raises(RuntimeError, match="mine"), store.lock("run"):
        raise RuntimeError("mine")
    assert take(store)


def test_a_folder_that_cannot_be_written_cannot_be_locked(tmp_path):
    (tmp_path / "file").write_text("here already")
    with pytest.raises(UserError, match=r"^cannot write to .*run \(.*\); choose another --out$"):
        take(RunStore(tmp_path / "file" / "run"))


@pytest.mark.parametrize("how", ["removed", "replaced", "with its folder"])
def test_who_holds_a_lock_that_is_gone_writes_no_more(how, store):
    file = store.path / ".trial-0.lock"
    with store.lock("run"), store.lock("trial-0"):
        store.append(make_row())
        before = (store.path / "rows-0.jsonl").read_bytes()
        if how == "with its folder":
            shutil.rmtree(store.path)
        else:
            file.unlink()
        if how == "replaced":
            assert take(RunStore(store.path), "trial-0")  # as another process would
            file.touch()
        found = "another" if how == "replaced" else "none"
        with pytest.raises(UserError, match=rf"\.lock: expected the lock that this process holds, found {found}: the run was"):
            store.append(make_row(level=1))
        if how != "with its folder":
            assert (store.path / "rows-0.jsonl").read_bytes() == before
            file.unlink(missing_ok=True)
    store = RunStore.create(store.path.parent, make_spec())
    with store.lock("trial-0"):
        store.append(make_row(level=len(store.rows(0))))
