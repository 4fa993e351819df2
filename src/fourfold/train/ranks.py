"""The processes that train one network together, and what they tell each other."""

import contextlib
import functools
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
from torch import Tensor, distributed

from fourfold.record import Launch, RankError, UserError
from fourfold.train.termination import TerminatedError, at_termination, ending_though_deaf, ignore_termination, raise_terminated

TIMEOUT_SECONDS = 600
"""How long a rank waits for another: downloads and the slowest step must be shorter, and a hung rank ends them all then."""

GOES_ON = "all finished levels are on disk, the same command resumes"


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that train one network together; alone, it is the first and the only one."""

    rank: int = 0
    world: int = 1
    parts: int = 1
    """Parts of each batch whose gradients are computed one by one; every rank takes as many of them as the others."""

    @property
    def alone(self) -> bool:
        """Whether a batch is computed at once, here."""
        return self.world == self.parts == 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    @property
    def mine(self) -> slice:
        """Which of the parts of a batch are this rank's."""
        count = self.parts // self.world
        return slice(self.rank * count, (self.rank + 1) * count)

    def share(self, places: range) -> slice:
        """Return this rank's places of a batch: those of its parts, which differ by at most one place."""
        size, longer = divmod(len(places), self.parts)

        def bound(part: int) -> int:
            return places.start + part * size + min(part, longer)

        return slice(bound(self.mine.start), bound(self.mine.stop))

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of all ranks' tensors."""
        if self.world > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor)
        return tensor

    def from_first(self, content: bytes) -> bytes:
        """Return the content of the first rank; that of others is ignored."""
        if self.world == 1:
            return content
        size = torch.tensor(len(content))
        distributed.broadcast(size, src=0)
        buffer = _tensor(content) if self.first else torch.empty(int(size), dtype=torch.uint8)
        distributed.broadcast(buffer, src=0)
        return buffer.numpy().tobytes()

    def gather(self, content: bytes) -> list[bytes]:
        """Return the content of each rank."""
        if self.world == 1:
            return [content]
        sizes = [torch.tensor(0) for _ in range(self.world)]
        distributed.all_gather(sizes, torch.tensor(len(content)))
        longest = max(int(size) for size in sizes)
        buffers = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.world)]
        distributed.all_gather(buffers, _tensor(content.ljust(longest, b"\0")))
        return [buffer.numpy().tobytes()[:size] for buffer, size in zip(buffers, map(int, sizes), strict=True)]

    def wait(self) -> None:
        """Wait until all ranks have called this."""
        self.gather(b"")

    def agree(self, what: str, content: bytes) -> None:
        """Check that all ranks have the same content.

        Raises:
            UserError: one has another than rank 0.
        """
        digests = [digest.hex() for digest in self.gather(hashlib.sha256(content).digest())]
        for rank, digest in enumerate(digests):
            if digest != digests[0]:
                raise UserError(
                    f"rank {rank} has computed another {what} than rank 0 (SHA-256 {digest[:8]}, not {digests[0][:8]}): "
                    f"all ranks must run on one kind of processor; {GOES_ON}"
                )

    def agree_on_settings(self, settings: dict[str, Any]) -> None:
        """Check that all ranks were given the same settings, and run the same versions.

        Raises:
            UserError: one differs from rank 0; the first setting in which it does is named.
        """
        first, *others = (json.loads(content) for content in self.gather(json.dumps(settings).encode()))
        for rank, theirs in enumerate(others, 1):
            for name in first.keys() | theirs.keys():
                if first.get(name) != theirs.get(name):
                    raise UserError(
                        f"`{name}` of rank {rank} (={theirs.get(name)}) must be that of rank 0 (={first.get(name)}): "
                        "start the same command with the same packages everywhere"
                    )


ALONE = Ranks()


@contextlib.contextmanager
def join(launch: Launch, device: torch.device) -> Iterator[Ranks]:
    """Meet the other processes of the launch: gloo for tensors on a CPU, NCCL for those on a GPU.

    Whatever ends a rank is reported once, by the first that sees it. The others end without a word, with the same exit code.

    Raises:
        UserError: the processes do not find each other.
        RankError: what this rank has to say for all: a mistake, or that another rank is gone.
    """
    if distributed.is_initialized():
        raise UserError("there is a process group already: leave it to fourfold to make one")
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    timeout = timedelta(seconds=TIMEOUT_SECONDS)
    with at_termination(signal.SIG_DFL):  # others are waited for outside of Python, where no handler of its own is called
        try:
            number = len(_JOINED)
            _JOINED.append(launch)
            store = distributed.PrefixStore(f"fourfold-{number}", _store())  # type: ignore[attr-defined]
            distributed.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.world, timeout=timeout)
        except RuntimeError as error:
            raise RankError(f"rank {launch.rank} does not reach the other ranks ({_reason(error)})") from error

        stopped = f"rank {launch.rank} was stopped, as all are when one rank ends; {GOES_ON}"

        def say(sentence: str, error: BaseException) -> NoReturn:
            ignore_termination()  # first of all: the launcher ends this rank as soon as it sees another's end
            with contextlib.suppress(RuntimeError):  # the store is gone: better twice than never
                if store.add("said", 1) > 1:
                    raise SystemExit(2) from error
            raise RankError(sentence) from error

        try:
            with at_termination(raise_terminated), ending_though_deaf(f"fourfold: {stopped}"):
                try:
                    yield Ranks(rank=launch.rank, world=launch.world, parts=launch.world)
                except UserError as error:
                    say(str(error), error)
                except torch.OutOfMemoryError as error:
                    say(f"rank {launch.rank} has too little GPU memory; more --parts make each smaller; {GOES_ON}", error)
                except RuntimeError as error:
                    if not _is_loss(error):
                        raise
                    say(f"rank {launch.rank} has lost another rank ({_reason(error)}); {GOES_ON}", error)
        except TerminatedError as error:
            say(stopped, error)
        distributed.destroy_process_group()


_JOINED: list[Launch] = []
"""The launches that this process has joined, one for each `run`."""


def has_joined() -> bool:
    """Whether this process has communicated with others.

    Threads of gloo may then be left, as torch never frees the process group of a data-parallel module, and one of them that
    releases its last tensor while Python ends aborts the process.
    """
    return bool(_JOINED)


@functools.cache
def _store() -> Any:
    """Return the launcher's store, by which the processes find each other: one connection as long as this process lives."""
    timeout = timedelta(seconds=TIMEOUT_SECONDS)
    store, _, _ = next(distributed.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return distributed.PrefixStore(f"attempt-{attempt}", store)  # type: ignore[attr-defined]


def _is_loss(error: RuntimeError) -> bool:
    """Whether an error is of the communication: gloo has no type of its own for them."""
    text = str(error).lower()
    return isinstance(error, distributed.DistError) or any(word in text for word in ("gloo", "nccl", "connection", "timed out"))


def _reason(error: BaseException) -> str:
    """Return the end of the first line of an error, without the place in somebody's source."""
    line = str(error).partition("\n")[0].strip()
    return (line.rpartition("] ")[2] or line).rstrip(".")


def _tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
