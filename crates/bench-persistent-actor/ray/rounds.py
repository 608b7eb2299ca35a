"""The rounds of the benchmark: who is called when, and what is told of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import ray
from channel import Channel
from members import Member

if TYPE_CHECKING:
    from kills import Kills

TELL_EVERY_NS = 500_000_000
"""How often the benchmark is told of calls; in between they are kept, not to disturb them."""

ARGUMENTS = 7
"""In the parallel workload the arguments are 1, 2, ... 7, 1, 2, ..."""


class Failure(Exception):
    """The run would prove nothing."""


class Log:
    """What happened, told in batches."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.calls: list[tuple[int, int, int, str | None, str]] = []
        self.told_ns = time.monotonic_ns()

    def call(
        self, actor: int, sent_ns: int, replied_ns: int, argument: str | None, state: str
    ) -> None:
        """A call was answered with this state; the argument is None when the state was read."""
        self.calls.append((actor, sent_ns, replied_ns, argument, state))
        if replied_ns - self.told_ns > TELL_EVERY_NS:
            self.tell()

    def tell(self) -> None:
        if self.calls:
            self.channel.send("calls", calls=self.calls)
        self.calls = []
        self.told_ns = time.monotonic_ns()

    def kill(
        self,
        member: Member,
        at_call: int,
        before: str | None,
        after: str | None,
        killed_ns: int,
        replied_ns: int,
        pid: int,
    ) -> None:
        """A process was killed, and its successor `pid` has answered."""
        self.channel.send(
            "kill",
            actor=member.number,
            at_call=at_call,
            before=before,
            after=after,
            killed_ns=killed_ns,
            replied_ns=replied_ns,
            killed_pid=member.pid,
            pid=pid,
        )
        member.pid = pid
        member.restarts += 1


def order(number: int, num_actors: int) -> tuple[int, range]:
    """The round with this number: whose state is read, and who is called in turn."""
    if number % 2 == 0:
        return num_actors - 1, range(1, num_actors)
    return 0, range(num_actors - 2, -1, -1)


def chain(run: dict[str, Any], members: list[Member], log: Log, kills: Kills) -> int:
    """One actor after the other, each with what the one before has answered. Gives the
    duration."""
    delay_ms, clock = run["delay_ms"], time.monotonic_ns
    done = 0
    begin_ns = clock()
    for number in range(run["num_rounds"]):
        source, callees = order(number, len(members))
        sent_ns = clock()
        current = members[source].get_data()
        log.call(source, sent_ns, clock(), None, members[source].text(current))
        for actor in callees:
            member = members[actor]
            note = kills.set_off(done, (clock() - begin_ns) // max(done, 1)) if kills.due else None
            argument = member.text(current)
            sent_ns = clock()
            current = ray.get(member.process(delay_ms, current))
            replied_ns = clock()
            log.call(actor, sent_ns, replied_ns, argument, member.text(current))
            if note is not None:
                kills.died_after_commit(note, done, member, replied_ns)
            done += 1
    kills.finish()
    return clock() - begin_ns


def parallel(run: dict[str, Any], members: list[Member], log: Log, kills: Kills) -> int:
    """All actors at once, each with so many calls before it. Gives the duration."""
    delay_ms, clock = run["delay_ms"], time.monotonic_ns
    arguments = [members[0].argument(number) for number in range(1, ARGUMENTS + 1)]
    next_round = [0] * len(members)
    begin_ns = clock()

    async def caller(member: Member) -> None:
        while (number := next_round[member.number]) < run["num_rounds"]:
            next_round[member.number] += 1
            call = number * len(members) + member.number
            note = kills.set_off(call, (clock() - begin_ns) // max(number, 1))
            argument = arguments[number % ARGUMENTS]
            sent_ns = clock()
            state = await member.process(delay_ms, argument)
            replied_ns = clock()
            log.call(
                member.number, sent_ns, replied_ns, member.text(argument), member.text(state)
            )
            if note is not None:
                await asyncio.to_thread(kills.died_after_commit, note, call, member, replied_ns)

    async def all_callers() -> None:
        callers = [caller(member) for member in members for _ in range(run["in_flight"])]
        await asyncio.gather(*callers)

    asyncio.run(all_callers())
    kills.finish()
    return clock() - begin_ns
