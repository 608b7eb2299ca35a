"""Kills actors while they work, by SIGKILL."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from members import Member
from rounds import Failure, Log


class Kills:
    """The kills of a run: which are due, which are under way."""

    def __init__(self, run: dict[str, Any], members: list[Member], log: Log) -> None:
        self.reads: bool = run["read_around_kills"]
        self.delay_ns: int = run["delay_ms"] * 1_000_000
        self.notes = Path(run["temp_dir"])
        self.members = members
        self.log = log
        self.due: dict[int, list[dict[str, Any]]] = {}
        for kill in run["kills"]:
            self.due.setdefault(kill["at_call"], []).append(kill)
        self.threads: list[threading.Thread] = []
        self.failures: list[BaseException] = []

    def set_off(self, number: int, mean_call_ns: int) -> Path | None:
        """Sets off what is due before the call with this number. Gives the death note of the
        actor that is to die in this call after its commit."""
        note = None
        for kill in self.due.pop(number, ()):
            if kill["part"] is None:
                note = self.notes / f"death-{number}"
                self.members[kill["actor"]].handle.arm.remote(str(note))
            else:
                wait_ns = kill["part"] * max(mean_call_ns, self.delay_ns)
                self._begin(kill, wait_ns / 1e9)
        return note

    def died_after_commit(self, note: Path, number: int, member: Member, replied_ns: int) -> None:
        """The call that was to die has been answered: by the next process, or the kill failed."""
        pid, old = member.ask_pid(), member.pid
        if not note.exists() or pid == old:
            raise Failure(f"actor {member.number} was to die in call {number} and did not")
        killed_ns = int(note.read_text())
        self.log.kill(member, number, None, None, killed_ns, replied_ns, pid)

    def finish(self) -> None:
        """Sets off what no call has reached, and waits until all is done."""
        for number in sorted(self.due):
            self.set_off(number, 0)
        for thread in self.threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _begin(self, kill: dict[str, Any], wait_s: float) -> None:
        thread = threading.Thread(target=self._try, args=(kill, wait_s), daemon=True)
        thread.start()
        self.threads.append(thread)

    def _try(self, kill: dict[str, Any], wait_s: float) -> None:
        try:
            self._carry_out(kill, self.members[kill["actor"]], wait_s)
        except BaseException as error:
            self.failures.append(error)

    def _carry_out(self, kill: dict[str, Any], member: Member, wait_s: float) -> None:
        before = member.text(member.get_data()) if self.reads else None
        time.sleep(wait_s)
        with member.killing:
            killed_ns = time.monotonic_ns()
            os.kill(member.pid, signal.SIGKILL)
            # Asked after the kill: only the next process can answer.
            pid = member.ask_pid()
            replied_ns = time.monotonic_ns()
            if pid == member.pid:
                raise Failure(f"actor {member.number} was killed, but its process {pid} answers")
            after = member.text(member.get_data()) if self.reads else None
            self.log.kill(member, kill["at_call"], before, after, killed_ns, replied_ns, pid)
