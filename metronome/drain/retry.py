"""Tries again, in a thread of its own, to send events that were set aside because their index couldn't take them.

round      one request has events of every index that is due. If several shards are missing, Elasticsearch waits for
           all of them at the same time
settled    the event is deleted here. Once no event of an index waits any more, its new events go the usual way again
not yet    the event stays. Its index is due again after a pause, which doubles up to half a minute
no answer  a shard of the index hangs. It gets requests of its own, so that the others don't wait for it
500        the event may be the cause. It is sent alone; after MOST_ALONE such answers it goes to quarantine. If one of
           these events gets through, the index was the cause, and the count begins again for all of them
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from metronome.drain import body
from metronome.drain.body import Item
from metronome.drain.judge import NO_ANSWER, is_own_fault
from metronome.drain.sender import Outcome, Sender, Stopped, Unsettled
from metronome.errors import MetronomeError
from metronome.metrics import Metrics
from metronome.spool import rescue
from metronome.spool.files import spool_files
from metronome.spool.held import Held
from metronome.spool.quarantine import Quarantine
from metronome.spool.reader import Damaged, Reader, Row

log = logging.getLogger("metronome.drain")

#: Shortest and longest pause, in seconds, before an index that refuses events is tried again.
PAUSE_S = (1.0, 30.0)

#: How often an event may get a 500 when it is sent alone.
MOST_ALONE = 6

#: Most events of an index that are sent alone in one round.
_ALONE_A_ROUND = 20

_LOOK_EVERY_S = 0.2


@dataclass
class _Waiting:
    """One index for which events wait."""

    due: float = 0.0
    pause_s: float = 0.0
    problem: str = ""
    #: Whether it gave no answer at all.
    is_silent: bool = False
    #: Actions of events that got a 500, and how often they got one when sent alone.
    suspects: dict[bytes, int] = field(default_factory=dict)


@dataclass
class _Taken:
    """Rows of one index that were read for a round."""

    reader: Reader
    rows: list[Row]
    items: list[Item]


class Retry:
    """Tries held events again until the sender's `stopping` is set."""

    def __init__(self, sender: Sender, held: Held, quarantine: Quarantine, metrics: Metrics, max_bytes: int) -> None:
        self._sender = sender
        self._held = held
        self._quarantine = quarantine
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._indices: dict[str, _Waiting] = {}
        self.outcome = Outcome()
        # Events that an earlier drain set aside wait for the first round.
        sender.refusing.update(index.encode() for index in held.indices())

    def run(self) -> None:
        """Make rounds until stopped. After an error, the next round follows as usual."""
        stopping: threading.Event = self._sender.stopping
        while not stopping.is_set():
            try:
                self.round()
            except Stopped:
                return
            except Exception as error:
                log.exception("a round of held events failed in an unforeseen way; another follows")
                self._sender.ill(f"unforeseen: {error!r}")
                stopping.wait(PAUSE_S[0])
            stopping.wait(_LOOK_EVERY_S)

    def trouble(self, folder_ages: dict[str, float]) -> str:
        """Text that says which indices take no events, since when and why; empty if there are none."""
        ill = [(age, index) for index, age in folder_ages.items()]
        if not ill:
            return ""
        age, index = max(ill)
        problem = self._indices.get(index, _Waiting()).problem or "not tried yet"
        more = f", and {len(ill) - 1} other indices" if len(ill) > 1 else ""
        return f"{index} takes nothing ({problem}), its oldest event waits since {age:.0f} s{more}"

    def round(self) -> None:
        """Try the indices that are due."""
        now = time.monotonic()
        names = self._held.indices()
        self._indices = {name: self._indices.get(name, _Waiting()) for name in names}
        due = [name for name in names if self._indices[name].due <= now]
        if due:
            share = max(1, self._max_bytes // len(due))
            for start in range(0, len(due), 100):  # so many files are open at one time
                self._try(due[start : start + 100], share)

    def _try(self, names: list[str], share: int) -> None:
        with self._sender.under_way() as suppression, contextlib.ExitStack() as opened:
            taken = {name: found for name in names if (found := self._take(name, opened, share)) is not None}
            if suppression is not None:
                for found in taken.values():
                    found.items = self._sender.unsuppressed(found.items, suppression)
            together, apart, alone = self._sorted(taken)
            outcome = Outcome()
            left = self._sender.deliver(together, outcome) if together else []
            for items in apart:
                left += self._sender.deliver(items, outcome)
            for name, item in alone:
                left += self._alone(name, item, outcome)
            unsent = {id(item) for found in taken.values() for item in found.items}
            unsent -= {id(item) for item in (*together, *chain(*apart), *(item for _, item in alone))}
            unsettled = {id(one.item): one for one in left}
            for name, found in taken.items():
                self._settle(name, found, unsettled, unsent)
            self._sender.count(outcome)
            self.outcome.add(outcome)
        for name in names:
            if name not in taken and self._held.remove_if_empty(name):
                self._well(name)

    def _take(self, name: str, opened: contextlib.ExitStack, share: int) -> _Taken | None:
        """The next rows of an index; None if nothing waits for it."""
        place = self._held.place(name)
        for path in rescue.broken_files(place):
            self._rescue(path)
        for path in spool_files(place):
            try:
                reader = opened.enter_context(contextlib.closing(Reader(path)))
                rows = reader.rows(share)
            except Damaged as damage:
                log.warning("a file of held events is damaged", extra={"file": path.name, "problem": str(damage)})
                rescue.begin(path)
                continue
            for row in rows:
                if not row.intact:
                    self._metrics.spool_damaged.inc()
                    self._quarantine.add_damaged(f"held/{name}/{path.name}#{row.id}", row.body, "damaged")
                    reader.delete([row])
            whole = [row for row in rows if row.intact]
            if whole:
                return _Taken(reader, whole, [item for row in whole for item in body.items(row.body)])
        return None

    def _rescue(self, path: Path) -> None:
        good, damaged = rescue.finish(path, self._quarantine)
        self._metrics.spool_damaged.inc(damaged)
        log.error("what is whole of it is spooled again", extra={"requests": good, "damaged": damaged})

    def _sorted(self, taken: dict[str, _Taken]) -> tuple[list[Item], list[list[Item]], list[tuple[str, Item]]]:
        """The events to send in one request, in one for each silent index, and alone. The others wait for later."""
        together: list[Item] = []
        apart: list[list[Item]] = []
        alone: list[tuple[str, Item]] = []
        for name, found in taken.items():
            suspects = self._indices[name].suspects
            usual = [item for item in found.items if item.action not in suspects]
            if self._indices[name].is_silent and usual:
                apart.append(usual)
            else:
                together += usual
            alone += [(name, item) for item in found.items if item.action in suspects][:_ALONE_A_ROUND]
        return together, apart, alone

    def _alone(self, name: str, item: Item, outcome: Outcome) -> list[Unsettled]:
        """Send one event in a request of its own; gives it back if it can't be delivered now."""
        suspects = self._indices[name].suspects
        left = self._sender.deliver([item], outcome)
        if not left:
            suspects.clear()
        elif is_own_fault(left[0].last.status):
            suspects[item.action] = suspects.get(item.action, 0) + 1
            if suspects[item.action] >= MOST_ALONE and self._sender.put_in_quarantine([left[0].last]):
                del suspects[item.action]
                outcome.quarantined += 1
                return []
        return left

    def _settle(self, name: str, found: _Taken, unsettled: dict[int, Unsettled], unsent: set[int]) -> None:
        """Delete the settled events of an index, keep the others, and set the time when the index is due again."""
        rest = [item for item in found.items if id(item) in unsettled or id(item) in unsent]
        rejections = [unsettled[id(item)].last for item in rest if id(item) in unsettled]
        if len(rest) < len(found.items) or not rest:
            try:
                if rest:
                    since_ms = min(row.received_ms for row in found.rows)
                    self._held.put(name, body.lines(rest), len(rest), since_ms)
                found.reader.delete(found.rows)
            except (MetronomeError, sqlite3.Error, Damaged) as error:
                log.warning("held events can't be forgotten; they are sent again", extra={"problem": str(error)})
        if not rest:
            self._well(name)
            return
        waits = self._indices[name]
        for said in rejections:
            if is_own_fault(said.status):
                waits.suspects.setdefault(said.action, 0)
            waits.problem = f"{said.status} {said.kind}".strip()
            waits.is_silent = said.kind == NO_ANSWER
        others = [said for said in rejections if not is_own_fault(said.status)]
        if others or (len(rest) == len(found.items) > 1):
            self._sender.refusing.add(name.encode())
        else:
            self._sender.refusing.discard(name.encode())
        waits.pause_s = min(max(PAUSE_S[0], 2 * waits.pause_s), PAUSE_S[1])
        waits.due = time.monotonic() + waits.pause_s

    def _well(self, name: str) -> None:
        """Note that the index takes events. Its new events go the usual way, and the waiting ones are tried at once."""
        if name.encode() in self._sender.refusing:
            self._sender.refusing.discard(name.encode())
            log.info("an index takes events again", extra={"index": name})
        self._indices[name] = _Waiting(suspects=self._indices[name].suspects)
