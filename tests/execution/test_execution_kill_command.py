"""Real commands in sessions of their own, killed while their workers train: the same command resumes."""

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from forked_commands import ForkedCommand
from fourfold.cli import main
from fourfold.record import RunStore, Spec
from lottery_samples import results, run_alone, workers_of
from processes import PATIENCE_SECONDS, is_alive, kill, wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")

LEVELS = 3
TRIALS = 2
SETTINGS = ["--epochs", "8", "--max-level", str(LEVELS - 1), "--prune-fraction", "0.5", "--trials", str(TRIALS)]


def words_of(out, *more) -> list[str]:
    return ["run", "digits", *SETTINGS, "--workers", "2", "--device", "cpu", "--out", str(out), *more]


def start(out, *more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "fourfold", *words_of(out, *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background may ignore it
    )


def stores(out) -> list[RunStore]:
    return [RunStore(file.parent) for file in Path(out).glob("*/spec.json")]


def num_rows(out) -> int:
    return sum(file.read_bytes().count(b"\n") for file in Path(out).glob("*/rows-*.jsonl"))


@pytest.fixture
def started(tmp_path):
    """Starts the command on `tmp_path`, and leaves nothing running."""
    processes = []

    def begin(*more):
        processes.append(start(tmp_path, *more))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def forked(tmp_path, quick_plan):
    """Forks the command on `tmp_path` in place of starting it, and leaves nothing running."""
    commands = []

    def begin():
        commands.append(ForkedCommand(words_of(tmp_path), tmp_path / f"said-{len(commands)}", 2, lambda: None))
        return commands[-1]

    yield begin
    for command in commands:
        command.kill()


def expected(out, elsewhere) -> list[dict]:
    """The rows of the same specs, uninterrupted and in this process."""
    rows = []
    for store in sorted(stores(out), key=lambda store: store.path):
        spec: Spec = store.spec()
        for trial in range(TRIALS):
            rows += run_alone(spec, elsewhere, trial).rows(trial)
    return results(rows)


@pytest.mark.slow
def test_a_killed_command_leaves_no_worker_and_goes_on(started, forked, tmp_path):
    generator = random.Random(4)
    for after_rows, begin in ((0, forked), (1, started), (6, forked)):
        process = begin()
        workers_now = process.workers if begin is forked else partial(workers_of, process.pid)
        if after_rows:
            wait_until(lambda: num_rows(tmp_path) >= after_rows, f"{after_rows} rows are on disk")  # noqa: B023
        else:
            wait_until(workers_now, "there is a worker")
        time.sleep(generator.uniform(0, 0.4 if begin is started else 0.1))
        workers = workers_now()
        assert is_alive(process.pid)
        assert workers
        kill(process.pid)  # the parent alone
        process.wait()
        killed = time.monotonic()
        wait_until(lambda: not any(is_alive(pid) for pid in workers), "the workers have ended by themselves")  # noqa: B023
        assert time.monotonic() - killed < 10
        for store in stores(tmp_path):
            assert not store.locked("run")
            for trial in store.trials():
                assert [row.level for row in store.rows(trial)] == list(range(len(store.rows(trial))))
    process = started()
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (0, "")
    assert "levels done already" in output
    rows = [
        row for store in sorted(stores(tmp_path), key=lambda store: store.path) for t in range(TRIALS) for row in store.rows(t)
    ]
    assert len(rows) == 2 * TRIALS * LEVELS
    assert results(rows) == expected(tmp_path, tmp_path / "alone")
    assert (tmp_path / "digits-report" / "index.html").exists()


@pytest.mark.slow
def test_of_two_commands_on_one_run_one_works_and_ctrl_c_ends_it(started, tmp_path, capsys):
    long = ["--algebra", "real", "--epochs", "100000"]
    process = started(*long)
    wait_until(lambda: workers_of(process.pid), "there is a worker")
    with pytest.raises(SystemExit) as ended:
        main(["run", "digits", *SETTINGS, *long, "--device", "cpu", "--out", str(tmp_path)])
    assert ended.value.code == 2
    (store,) = stores(tmp_path)
    errors = capsys.readouterr().err
    assert errors == f"fourfold: another process is working on {store.path}; wait for it, or use another --out\n"
    assert process.poll() is None
    workers = workers_of(process.pid)
    assert workers
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert errors == "\nfourfold: stopped; all finished levels are on disk, the same command resumes\n"
    wait_until(lambda: not any(is_alive(pid) for pid in workers), "the workers have ended")
    assert not store.locked("run")


@pytest.mark.slow
def test_a_worker_ends_when_its_standard_input_does():
    process = subprocess.Popen(
        [sys.executable, "-m", "fourfold.execution.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    output, _ = process.communicate("", timeout=PATIENCE_SECONDS)
    assert (process.returncode, output) == (0, "")
