"""Where a Ray cluster is, and whether one answers there. No Ray, no torch: a wrong address fails before they are imported."""

import os
import socket
from dataclasses import dataclass

from fourfold.record.errors import UserError

ANSWER_SECONDS = 4
"""How long the head of a cluster may take to answer, first to a connection, then to a greeting."""

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""HTTP/2's opening and an empty frame of settings, which every gRPC server answers at once (RFC 9113, section 3.4)."""

SETTINGS = b"\x04"
"""The fourth byte of what comes back: its first frame is of settings as well."""


class NoAnswerError(UserError):
    """A cluster that is not there, now."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where and with what Ray runs trials: `fourfold.run(…, cluster=Cluster(address="head:6379"))`."""

    address: str | None = None
    """HOST:PORT of the head, on a machine of the cluster; None takes `$RAY_ADDRESS`, else starts Ray on this machine."""
    gpus_per_trial: float | None = None
    """Part of a GPU that each trial gets, at most 1; None is a whole one where the cluster has any."""
    memory_per_trial: float | None = None
    """GiB of memory that each trial asks for; None estimates it from the data and the network."""

    def __post_init__(self) -> None:
        if self.gpus_per_trial is not None and not 0 < self.gpus_per_trial <= 1:
            raise UserError(f"`gpus_per_trial` (={self.gpus_per_trial}) must be above 0 and at most 1: a trial has one GPU")
        if self.memory_per_trial is not None and not 0 < self.memory_per_trial < float("inf"):
            raise UserError(f"`memory_per_trial` (={self.memory_per_trial}) must be GiB above 0")
        _split(self.joined)

    @property
    def joined(self) -> str | None:
        """The address that is joined; None for a cluster of our own."""
        return self.address or os.environ.get("RAY_ADDRESS") or None

    @property
    def where(self) -> str:
        """The place in a sentence."""
        return f"at {self.joined}" if self.joined else "on this machine"

    def greet(self) -> None:
        """Raise `NoAnswerError` if there is an address and no gRPC server at it; Ray would try for a minute and longer."""
        place = _split(self.joined)
        if place is None:
            return
        try:
            with socket.create_connection(place, ANSWER_SECONDS) as connection:
                if os.environ.get("RAY_USE_TLS", "0") != "0":
                    return
                connection.sendall(GREETING)
                if connection.recv(9)[3:4] != SETTINGS:
                    raise self.no_answer("what is there is no Ray head")
        except OSError as error:
            raise self.no_answer(error.strerror or str(error)) from error

    def no_answer(self, reason: str) -> NoAnswerError:
        """Return the error of a cluster that does not answer."""
        return NoAnswerError(f"no Ray cluster answers {self.where} ({reason}); `ray start --head` starts one")


def _split(address: str | None) -> tuple[str, int] | None:
    """Return host and port of an address; None where there is none."""
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"`address` (={address!r}) must be HOST:PORT of a Ray head, such as 10.0.0.1:6379")
    return host, int(port)
