"""Every example of an experiment from end to end: run, killed, resumed, and each command that reads or continues it.

    git clone . /tmp/clone && cd /tmp/clone
    python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt '.[ray]'
    .venv/bin/python benchmarks/examples.py [EXAMPLE …]

Prints each command, its seconds and what was checked. It needs Chromium to look at the pages, and Ray for two nodes; what is
not installed is said to be left out. It ends with 1 where something is not as it should be.
"""

import argparse
import contextlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fourfold.record import find_runs

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/experiment.py"))
SHORT = ("--epochs", "1", "--max-level", "1")
KILLED_AFTER = 3
"""Rows on disk when the run is killed."""
PATIENCE = 900
"""Seconds that a command may take."""

Results = dict[tuple[str, int, str, int], Any]


class WrongError(Exception):
    """Something is not as it should be; says what."""


def fourfold(*words: str) -> list[str]:
    """Return a command of fourfold."""
    return [sys.executable, "-m", "fourfold", *words]


def completed(words: list[str], folder: Path) -> str:
    """Run a command to its end and return what it printed."""
    with subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise WrongError(f"exit code {process.returncode}: {err.strip()[-500:]}")
    if "Traceback" in out + err:
        raise WrongError(f"a traceback: {(out + err).strip()[-500:]}")
    return out


def killed(words: list[str], folder: Path) -> str:
    """Run a command, and end it and all its processes when a few rows are on disk."""
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    late = time.monotonic() + PATIENCE
    while process.poll() is None and count_rows(folder / "runs") < KILLED_AFTER and time.monotonic() < late:
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise WrongError(f"ended with exit code {process.returncode} before it was killed")
    return f"killed with {count_rows(folder / 'runs')} rows on disk"


def count_rows(out: Path) -> int:
    """Return the number of rows that are on disk."""
    return sum(file.read_bytes().count(b"\n") for file in out.glob("*/rows-*.jsonl"))


def results(out: Path) -> Results:
    """Return what was measured, by run, trial, control and level."""
    found: Results = {}
    for store in find_runs(out):
        for trial in store.trials():
            found |= {(row.run, trial, "ticket", row.level): row.result() for row in store.rows(trial)}
        for trial, control in store.controls():
            found |= {(row.run, trial, control, row.level): row.result() for row in store.control_rows(trial, control)}
    return found


def same(whole: Results, part: Results) -> str:
    """Return how many rows of a run are those of another one."""
    different = [key for key in part if whole.get(key) != part[key]]
    if different or not part:
        raise WrongError(f"{len(different)} of {len(part)} rows differ, first {different[:1]}")
    return f"{len(part)} rows equal"


class Browser:
    """Headless Chromium, which looks at pages."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def look(self, page: Path, metrics: set[str]) -> str:
        """Open the pages of a report; each metric must be the title of an axis, and nothing may be amiss in the console."""
        if self._page is None:
            return f"{page} was not looked at"
        titles: set[str] = set()
        for file in (page, *(page.parent / "experiments").glob("*.html")):
            self._page.open(file)
            self._page.run("document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")
            self._page.settle()
            titles |= set(self._page.run("[...document.querySelectorAll('svg .title')].map((title) => title.textContent)"))
        missing = [metric for metric in metrics if not any(metric in title for title in titles)]
        if missing or self._page.troubles:
            raise WrongError(f"no axis of {missing} among {sorted(titles)}, {self._page.troubles}")
        return f"axes of {page}: {', '.join(sorted(titles))}"


class Example:
    """One example, in a folder of its own."""

    def __init__(self, name: str, folder: Path, browser: Browser) -> None:
        self.file = str(ROOT / "examples" / name / "experiment.py")
        self.folder, self._browser = folder, browser
        folder.mkdir()
        self.failures = 0

    def step(self, words: list[str], check: Callable[[str], str], run: Callable[[list[str], Path], str] = completed) -> None:
        """Run a command, check what it did, and print one line."""
        start = time.monotonic()
        try:
            found = check(run(words, self.folder))
        except (WrongError, subprocess.TimeoutExpired) as error:
            self.failures += 1
            found = f"WRONG: {error}"
        shown = shlex.join(words).replace(f"{sys.executable} -m fourfold", "fourfold").replace(f"{ROOT}/", "")
        print(f"  {time.monotonic() - start:5.0f} s  {shown}\n           {found}", flush=True)

    def local(self) -> None:
        """Run, kill, resume, and every other command on this machine."""
        out = self.folder / "runs"
        run = fourfold("run", self.file, "--trials", "3")
        self.step(run, str, killed)
        self.step(run, lambda printed: f"{self.finished(3)}; {self.seen(printed)}")
        whole = results(out)
        self.step(fourfold("status", "runs"), lambda printed: line_with(printed, "3"))
        self.step(fourfold("check", "runs"), lambda printed: printed.strip().splitlines()[-1])
        self.step(fourfold("report", "runs", "--out", "report"), lambda _: self.seen("report/index.html"))
        self.step(
            fourfold("stability", "runs", "--code", self.file, "--levels", "0", "1", "--points", "3", "--workers", "1"),
            lambda _: f"{sum(len(store.connectivity(trial)) for store in find_runs(out) for trial in store.trials())} lines",
        )
        short = self.folder / "short"
        controls = fourfold("run", self.file, *SHORT, "--trials", "2", "--controls", "random-init", "--out", "short")
        self.step(controls, lambda _: counted(results(short), "random-init"))
        settings = ("--set", "train.learning_rate=1e-3,3e-3", "--set", "train.epochs=1", "--trials", "1", "--out", "sweep")
        self.step(fourfold("sweep", self.file, *settings), lambda printed: line_with(printed, "best"))
        self.step(
            fourfold("run", self.file, "--trials", "1", "--out", "uninterrupted"),
            lambda _: f"{same(whole, results(self.folder / 'uninterrupted'))} to those of the run that was killed",
        )

    def on_nodes(self, address: str) -> None:
        """The short run again, on two nodes of Ray."""
        words = fourfold("run", self.file, *SHORT, "--trials", "2", "--executor", "ray", "--address", address, "--out", "ray")
        short = results(self.folder / "short")
        self.step(words, lambda _: f"{same(short, results(self.folder / 'ray'))} to those without Ray")

    def on_ranks(self) -> None:
        """The short run again, each network trained by two processes."""
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        words = ["-m", "fourfold", "run", self.file, *SHORT, "--trials", "1", "--out"]
        self.step([*launch, "1", *words, "rank"], lambda _: f"{len(results(self.folder / 'rank'))} rows")
        one = results(self.folder / "rank")
        self.step(
            [*launch, "2", *words, "ranks"], lambda _: f"{same(one, results(self.folder / 'ranks'))} to those of one rank"
        )

    def seen(self, printed: str) -> str:
        """Look at the page that a command names last; its axes must have the metrics of the rows."""
        pages = [word for word in printed.split() if word.endswith(".html")]
        if not pages:
            raise WrongError("no page is named")
        metrics = {row.metric.axis for store in find_runs(self.folder / "runs") for row in store.rows(0)}
        return self._browser.look(self.folder / pages[-1], metrics)

    def finished(self, trials: int) -> str:
        """Return how many levels each run has."""
        levels = [[len(store.rows(trial)) for trial in store.trials()] for store in find_runs(self.folder / "runs")]
        if any(len(run) != trials or min(run) < 2 for run in levels):
            raise WrongError(f"expected {trials} trials of two levels and more, found {levels}")
        return f"{len(levels)} networks, levels {levels}"


def line_with(printed: str, word: str) -> str:
    """Return the first line of a text with a word."""
    line = next((line.strip() for line in printed.splitlines() if word in line), None)
    if line is None:
        raise WrongError(f"expected {word!r}, found {printed.strip()[-200:]!r}")
    return line


def counted(rows: Results, control: str) -> str:
    """Return how many rows of a control there are."""
    count = sum(key[2] == control for key in rows)
    if not count:
        raise WrongError(f"no row of {control}")
    return f"{count} rows of {control}"


@contextlib.contextmanager
def looking() -> Iterator[Browser]:
    """Start the browser of the tests, if there is one."""
    sys.path.append(str(ROOT / "tests"))
    from headless_browser import browser, find

    if (binary := find()) is None:
        print("No Chromium: the pages are not looked at.")
        yield Browser(None)
        return
    with browser(binary) as page:
        yield Browser(page)


@contextlib.contextmanager
def two_nodes() -> Iterator[str | None]:
    """Start two nodes of Ray with a core each; yield the head's address, or None without Ray."""
    if importlib.util.find_spec("ray") is None:
        print("No Ray: nothing is run on nodes.")
        yield None
        return
    from ray.cluster_utils import Cluster

    Path("/tmp/ray").mkdir(exist_ok=True)  # Ray notes the address there
    settings = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=settings)
    try:
        cluster.add_node(num_cpus=1, object_store_memory=settings["object_store_memory"])
        yield cluster.address
    finally:
        cluster.shutdown()


def main() -> None:
    """Run the examples that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", nargs="*", metavar="EXAMPLE", default=EXAMPLES)
    parser.add_argument("--ranks", default="tabular", choices=EXAMPLES, help="the example that torchrun trains")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="examples-"))
    with looking() as browser, two_nodes() as address:
        examples = {name: Example(name, folder / name, browser) for name in arguments.examples}
        for name, example in examples.items():
            print(f"\n{name}", flush=True)
            example.local()
            if address is not None:
                example.on_nodes(address)
            if name == arguments.ranks:
                example.on_ranks()
    failures = sum(example.failures for example in examples.values())
    shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{failures} steps went wrong" if failures else "\nAll as it should be")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
