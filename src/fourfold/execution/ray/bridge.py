"""The process between a run and its Ray cluster: `python -m fourfold.execution.ray.bridge`, JSON lines in, events out.

Ray ends a process whose cluster is lost for a minute, prints what it likes, and takes over signals: all that happens here,
and the run itself starts another bridge and continues. First comes a line with the request, then, once the cluster has been
joined, a line a trial and an empty one. The bridge ends with its standard input, and with it all that it started.

Ray alone decides what runs where and when. This process hands it every trial, writes what comes back to the run's folder,
of which it is the only writer, and hands a trial whose worker or node died to Ray again with what is on disk by then.
"""

import asyncio
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, RayTaskError, WorkerCrashedError

from fourfold.execution.disk_failures import disk_failure
from fourfold.execution.events import ENDINGS
from fourfold.execution.jobs import Trial
from fourfold.execution.ray import chain, code, parcels
from fourfold.execution.ray.joining import Joined, Nodes, join, members, probe
from fourfold.execution.worker import take_standard_output
from fourfold.record import TICKET, Row, RunStore, UserError

LOOK_SECONDS = 2.0
"""How often it is seen whether the cluster is there and what it consists of."""

DEATHS = 5
"""Workers that a trial may lose one after the other, with no level finished or saved in between, before it is given up."""

WAY_SECONDS, WAY_SHARE = 10.0, 0.1
"""How much earlier than the run trials on other machines end where there is a budget, at most, and as a part of it."""

PAUSE_SECONDS = 1.0
"""Before a trial is handed to Ray again, for each death in a row."""

REASONS = {
    OutOfMemoryError: "its node's memory was full",
    NodeDiedError: "its node died",
    WorkerCrashedError: "its worker was killed (out of memory?)",
}
"""What Ray's ways to lose a task are called."""

Tell = Callable[..., None]


class LostError(Exception):
    """The cluster that was joined is there no longer."""


def main() -> None:
    """Join the cluster, run the trials, and end."""
    events = take_standard_output()
    writing = threading.Lock()

    def tell(kind: str, **content: Any) -> None:
        with writing:
            events.write(json.dumps({"event": kind, **content}) + "\n")
            events.flush()

    stdin = _Input()
    request = json.loads(stdin.lines.get())
    tell("ready")
    try:
        try:
            joined = join(request)
            tell("joined")
            probe(request, joined, members())
            tell("probed")
            asyncio.run(_Bridge(request, joined, tell).run(stdin))
        finally:
            ray.shutdown()
    except UserError as error:
        tell("error", message=str(error))
    except (LostError, ConnectionError) as error:
        tell("gone", message=str(error).partition("\n")[0])
    except Exception:
        tell("crash", message=traceback.format_exc())
    events.close()
    os._exit(0)  # Ray's own threads may hold up an orderly end


class _Input:
    """Standard input, read in a thread."""

    def __init__(self) -> None:
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.on_end: Callable[[], object] = lambda: os._exit(1)
        """Called when there is no more: the run has ended, however that happened."""
        threading.Thread(target=self._read, daemon=True).start()

    def trials(self, device: str) -> list[Trial]:
        """Return the trials to run on some kind of device, when all of them have been named."""
        trials = []
        while line := self.lines.get().strip():
            trial = Trial.from_line(line)
            trials.append(replace(trial, job=replace(trial.job, device=device)))
        return trials

    def _read(self) -> None:
        for line in sys.stdin:
            self.lines.put(line)
        self.on_end()


class _Bridge:
    """Follows all trials at once, in one thread.

    Args:
        request: What the run asks for.
        joined: The cluster.
        tell: Called with each event.
        look: Returns the nodes that are alive.
        pause_seconds: How long a trial waits after its first death, twice as long after the second, and so on.
    """

    def __init__(
        self,
        request: dict[str, Any],
        joined: Joined,
        tell: Tell,
        look: Callable[[], Nodes] = members,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._request, self._joined, self._tell = request, joined, tell
        self._members, self._pause_seconds = look, pause_seconds
        self._chain = ray.remote(**joined.resources, max_retries=0, num_returns="streaming", scheduling_strategy="SPREAD")(
            chain.run_chain
        )
        self._looking = ThreadPoolExecutor(1)  # its own, for a look at a cluster that is gone takes long
        self._description = ""

    async def run(self, stdin: _Input) -> None:
        """Hand all trials to Ray and pass on what becomes of them, until none is left, or the time or the input is over."""
        await self._look()
        trials = await asyncio.to_thread(stdin.trials, self._joined.device)
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        stdin.on_end = lambda: loop.call_soon_threadsafe(stopped.set)
        at_a_time = asyncio.Semaphore(self._request["workers"] or max(1, len(trials)))
        following = {asyncio.create_task(self._follow(trial, at_a_time)): trial for trial in trials}
        ends: list[asyncio.Future[Any]] = [
            asyncio.gather(*following),
            asyncio.create_task(self._watch()),
            asyncio.create_task(stopped.wait()),
        ]
        deadline = self._request["deadline"]
        patience = None if deadline is None else max(0, deadline - time.monotonic())
        done, _ = await asyncio.wait(ends, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()
        for follower, trial in following.items():
            if not follower.done():
                self._say(trial, "out-of-time")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        """Tell what the cluster consists of; raise `LostError` if it is not the one that was joined."""
        nodes = await asyncio.get_running_loop().run_in_executor(self._looking, self._members)
        if all(node["NodeID"] != self._joined.node for node in nodes):
            raise LostError("the cluster is another one now")
        description = self._joined.describe(nodes)
        self._tell("alive" if description == self._description else "cluster", message=description)
        self._description = description

    async def _follow(self, trial: Trial, at_a_time: asyncio.Semaphore) -> None:
        """Have a trial run, as often as that takes."""
        async with at_a_time:
            deaths = 0
            while True:
                attempt = _Attempt(trial, self._say, self._request["versions"])
                reason = await attempt.run(self._chain)
                if reason is None:
                    return
                await self._look()  # where the whole cluster is gone, the trial is not to blame
                deaths = 1 if attempt.came_on else deaths + 1
                if deaths == DEATHS:
                    times = f"{DEATHS} times in a row"
                    message = f"trial {trial.number} of {trial.spec.id} was given up after it lost its worker {times}: {reason}"
                    self._say(trial, "lost", message=message)
                    return
                algebra = trial.spec.model.algebra
                self._say(trial, "lost-worker", message=f"{algebra} trial {trial.number}: {reason}; it resumes on another node")
                await asyncio.sleep(self._pause_seconds * deaths)  # Ray may not know yet that a node is gone

    def _say(self, trial: Trial, kind: str, **content: Any) -> None:
        self._tell(kind, run=trial.spec.id, trial=trial.number, **content)


class _Attempt:
    """One task of Ray's, from what is on disk of a trial to the end of the trial or of the worker."""

    def __init__(self, trial: Trial, say: Callable[..., None], versions: dict[str, str]) -> None:
        self._trial, self._say, self._versions = trial, say, versions
        self._store = RunStore(trial.job.out / trial.spec.id)
        self.came_on = False
        """Whether a row or a checkpoint was written."""
        self._warned = False

    async def run(self, remote: Any) -> str | None:
        """Run the trial; return None when it has ended, or the reason why it has not."""
        trial, store, job = self._trial, self._store, self._trial.job
        self._level = len(store.rows(trial.number))
        keep = tuple(sorted(set(job.keep) - set(store.kept_levels(trial.number))))  # the machine does not see them
        every_mask = bool(job.controls or keep)
        files = await asyncio.to_thread(parcels.pack, store, trial.number, every_mask=every_mask)
        files |= await asyncio.to_thread(code.pack, trial)
        line = trial.on_another_machine(end_elsewhere(job.deadline), keep=keep).to_line()
        named = remote.options(name=f"{trial.spec.id} trial {trial.number}")
        try:
            async for reference in named.remote(line, files, self._versions):
                events = [(json.loads(line), parcel) for line, parcel in await reference]
                await asyncio.to_thread(self._write, events)
                for value, _ in events:
                    kind = value.pop("event")
                    if kind == "out-of-memory":
                        return "its GPU's memory was full"
                    self._say(trial, kind, **{name: content for name, content in value.items() if name not in ("run", "trial")})
                    if kind in (*ENDINGS, "error", "crash"):
                        return None
        except RayTaskError as error:
            self._say(trial, "crash", message=str(error))
            return None
        except RayError as error:
            return next((words for kind, words in REASONS.items() if isinstance(error, kind)), type(error).__name__)
        return "its worker ended without a word"

    def _write(self, events: list[tuple[dict[str, Any], parcels.Files]]) -> None:
        for value, files in events:
            row = Row.from_line(value["line"]) if "line" in value else None
            if row and row.control == TICKET:
                assert row.level == self._level, f"level {row.level} where {self._level} is next"
                self._level += 1
            try:
                warning = parcels.accept(self._store, files, row)
            except OSError as error:
                raise disk_failure(self._store, error) from error
            if warning and not self._warned:
                self._warned = True
                self._say(self._trial, "notice", message=warning)
            self.came_on = self.came_on or row is not None or (value["event"] == "checkpoint" and not warning)


def end_elsewhere(deadline: float | None) -> float | None:
    """Return a deadline of this machine's as a time of day, a little earlier, so that a checkpoint comes home in time."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    return time.time() + left - min(WAY_SECONDS, WAY_SHARE * left)


if __name__ == "__main__":
    main()
