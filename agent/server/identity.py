"""The place of a server among others: its worker, its machine, and the key that they share."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.config.settings import ServerSettings
from agent.runtime.places import Places, SharedPlaces
from agent.server.seal import Seal
from agent.telephony.access.spent import Spent, SpentHere, SpentOnMachine
from agent.telephony.access.tokens import Tokens
from agent.telephony.access.transfers import Transfers, TransfersOnMachine

HEALTH_SOCKET = "health.sock"
"""The unix socket of the parent of several processes, in the folder that they share."""

_MAC = 12


@dataclass(frozen=True, slots=True)
class Owner:
    """The server that has a call.

    Attributes:
        worker: its process; None where a server has one process only.
        machine: its address; empty where there is one machine, or this one is meant.
    """

    worker: int | None = None
    machine: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """A server process among others.

    Attributes:
        key: shared by all processes of all servers; None where there is one process.
        machine: this server's own address; empty where there is one machine.
        worker: number of this process; None where a server has one process only.
        folder: files that the processes of this machine share; None where there is one process.
    """

    key: bytes | None = None
    machine: str = ""
    worker: int | None = None
    folder: Path | None = None

    @classmethod
    def of(cls, settings: ServerSettings) -> Identity:
        """The identity of a server of one process."""
        key = settings.shared_key
        return cls(
            None if key is None else key.get_secret_value().encode(), settings.advertise or ""
        )

    def places(self) -> Places:
        """Counts calls, together with the other processes of this machine."""
        return Places() if self.folder is None else SharedPlaces(self.folder / "places")

    def seal(self) -> Seal | None:
        """Seals client secrets; None: they are remembered in this process."""
        return None if self.key is None else Seal(self.key)

    def resumption_key(self) -> bytes | None:
        """Signs the tokens of sessions of this machine; None: a key of this process does."""
        if self.key is None:
            return None
        return hmac.digest(self.key, b"onebreath session\0" + self.machine.encode(), "sha256")

    def transfers(self) -> Transfers:
        """Callers of this machine who are to be connected to another party."""
        folder = self.folder
        return Transfers() if folder is None else TransfersOnMachine(folder / "transfers.sqlite")

    def tokens(self) -> Tokens:
        """One-time tokens for media sockets, of this machine."""
        folder = self.folder
        spent: Spent = SpentHere() if folder is None else SpentOnMachine(folder / "spent.sqlite")
        return Tokens(self.key, machine=self.machine, spent=spent)

    @property
    def token_clock(self) -> Callable[[], float]:
        """The clock of tokens: one that no step of the wall clock moves, where machines need not
        agree."""
        return time.monotonic if self.key is None else time.time

    def socket_of(self, worker: int | None) -> Path | None:
        """The unix socket at which another process of this machine serves; None if there is none
        or it is this one."""
        if self.folder is None or worker is None or worker == self.worker:
            return None
        return self.folder / f"worker-{worker}.sock"

    # ---- ids of calls that name their owner ----------------------------------------------

    def call_suffix(self) -> str:
        """The end of the ids of calls here, by which other processes and machines find them."""
        suffix = "" if self.worker is None else f"-{self.worker}"
        if self.machine and self.key is not None:
            place = _text(self.machine.encode())
            suffix += f".{place}.{self._mac(place)}"
        return suffix

    def owner(self, call_id: str) -> Owner | None:
        """The server that a call's id names; None if no server of this key made it."""
        local, _, signed = call_id.partition(".")
        worker = local.rpartition("-")[2] if "-" in local else ""
        if worker and not (worker.isascii() and worker.isdecimal() and len(worker) <= 3):
            return None
        machine = ""
        if signed:
            place, _, mac = signed.partition(".")
            if self.key is None or not hmac.compare_digest(mac.encode(), self._mac(place).encode()):
                return None
            machine = base64.urlsafe_b64decode(place + "=" * (-len(place) % 4)).decode()
        elsewhere = machine if machine != self.machine else ""
        return Owner(int(worker) if worker else None, elsewhere)

    def _mac(self, place: str) -> str:
        """Signs a machine's address, to which requests about a call are then forwarded."""
        assert self.key is not None
        what = b"onebreath call\0" + place.encode(errors="surrogatepass")
        return _text(hmac.new(self.key, what, hashlib.sha256).digest()[:_MAC])


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
