"""`metronome load`: a file of events or an access log goes to a gateway, every line once.

    1. open      a file, a gzip file (known by its first bytes) or standard input gives lines with offsets (logfile.py)
    2. read      a line becomes an event (accesslog.py, splunk.py), a counted usage if it is one and that is wanted
                 (counted.py), or goes to FILE.unreadable with the reason
    3. post      batches go to POST /tick, again and again while the gateway is busy or away
    4. note      after every receipt, METRONOME_HOME/load holds how far the load got (note.py)

Why nothing is counted twice: a line's insert_id is made of the file's first line, the line's offset (in the inflated
file) and the line itself. A file that was renamed, compressed or has grown therefore gives the same ids again. The
store keeps only one event for each id. A load that was interrupted sends its last batch once more. An event that
already has an insert_id keeps it.

Why two servers' logs aren't taken for one: they may begin with the same lines, such as a health check's. The notes show
that a file isn't one of those that were loaded before, and its ids are then made of its number as well (`Note`). A
machine whose notes don't know the other log, and a stream, need `--source`, which is part of the ids too.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from tqdm import tqdm

from metronome import client
from metronome.errors import BadQuestion, SetupError, StoreUnavailable
from metronome.event.fields import TIME_NAMES, Event
from metronome.load.accesslog import Reader, apache_reader, formats_of, is_logged_request, json_reader, to_event
from metronome.load.counted import Counting
from metronome.load.logfile import Damaged, Line, LogFile
from metronome.load.note import Kept, Note
from metronome.load.splunk import splunk_event

#: A batch of more bytes than this is posted, however few events it has. The gateway's limit is 10 MiB.
MAX_BATCH_BYTES = 4 * 2**20

#: Seconds for which a gateway may be away before the load gives up: if it never answered, and if it answered before.
PATIENCE_FIRST_S = 30
PATIENCE_S = 600

_MAX_WAIT_S = 30

FORMS = ("auto", "ndjson", "json", "common", "combined", "vhost_combined", "main", "splunk")


@dataclass
class Report:
    """The outcome of a load: how many lines were loaded, and how many weren't."""

    name: str
    lines: int = 0
    loaded: int = 0
    rejected: int = 0
    unreadable: int = 0
    #: Number of events by name, if the file is an access log.
    happened: Counter[str] = field(default_factory=Counter)
    #: Lines that are counted usage; None if that isn't wanted.
    counted: int | None = None
    #: The last line that an earlier run had loaded as a plain event, where usage is counted now.
    plain: int = 0
    #: Lines that an earlier run had loaded.
    before: int = 0
    #: Whether the last line isn't written to its end yet.
    cut: bool = False
    #: Why the file couldn't be read to its end.
    damage: str = ""
    kept_in: Path | None = None

    @property
    def failed(self) -> bool:
        """Whether events are missing, so that the user has to look. Every log has a few unreadable lines."""
        return bool(self.rejected or self.damage or (self.unreadable and not self.loaded))

    def text(self) -> str:
        happened = ", ".join(f"{count} {name}" for name, count in self.happened.most_common())
        loaded = f"{self.loaded} events loaded" + (f" ({happened})" if happened else "")
        rows = [f"{self.name}: {self.lines} lines read, {loaded}"]
        if self.counted is not None:
            rows.append(f"  {self.counted} of the lines are counted usage")
        if self.plain:
            rows.append(
                f"  up to line {self.plain} it was loaded without --counter; lines that are stored stay uncounted"
            )
        if self.before:
            rows.append(f"  went on after line {self.before}, where the last run stopped (--restart: from line 1)")
        if self.unreadable:
            rows.append(f"  {self.unreadable} lines can't be read: see {self.kept_in}")
        if self.rejected:
            rows.append(f"  {self.rejected} events were refused: see {self.kept_in}")
        if self.cut:
            rows.append("  the last line isn't finished; the next run takes it")
        if self.damage:
            rows.append(f"  the rest is missing: {self.damage}")
        return "\n".join(rows)


def load_file(
    file: Path,
    *,
    url: str,
    home: Path,
    key: str = "",
    form: str = "auto",
    app: str = "",
    origin: str = "",
    batch: int = 500,
    unreadable: Path | None = None,
    restart: bool = False,
    counting: Counting | None = None,
) -> Report:
    """Load a file (`-`: standard input) into the gateway at `url`; returns when every line has its receipt.

    `origin` names the server that wrote the file. Lines of two origins are never taken for one another. `counting`
    makes counted usage of the lines of an access log that are usage.

    Raises SetupError (a file can't be opened), BadQuestion (`form` is no known form), StoreUnavailable (no gateway
    answered for PATIENCE_S; the same call continues from there) or Refused.
    """
    try:
        with LogFile(file) as source, Note(home, source, url, form, app, origin, counting is not None) as note:
            if restart:
                note.forget()
            kept = Kept(unreadable or Path(f"{source.name}.unreadable"), note)
            reading = Reading(form, app, source, note.identity, counting)
            loading = Loading(source, reading, url, key, note, kept)
            if counting is not None:
                loading.report.counted, loading.report.plain = 0, note.plain
            loading.run(max(1, batch))
            return loading.report
    except Damaged as error:
        raise SetupError(str(error)) from None
    except OSError as error:
        hint = ""
        if str(error.filename).endswith(".unreadable"):
            hint = "; name a file that can be written with --unreadable"
        elif str(error.filename).startswith(str(home)):
            hint = "; set METRONOME_HOME to a folder that can be written"
        raise SetupError(f"{error.filename or file}: {error.strerror or error}{hint}") from None


class Read(NamedTuple):
    """A line as the JSON that is posted, what happened (accesslog.py), and whether it is counted usage.

    `happened` is empty if the line is an event already.
    """

    body: bytes
    happened: str = ""
    counted: bool = False


class Reading:
    """Turns a line into the JSON that is posted."""

    def __init__(self, form: str, app: str, source: LogFile, identity: str, counting: Counting | None = None) -> None:
        self._counting = counting
        self._app = app
        self._identity = identity
        self._form = form
        self._apache: Reader | None = None
        if form not in FORMS and "%" not in form:
            raise BadQuestion(f"--format: {form!r} is none of {', '.join(FORMS)}, and no LogFormat string")
        if form not in ("json", "ndjson", "splunk"):
            try:
                self._apache = apache_reader(form)
            except ValueError as error:
                raise BadQuestion(f"--format: {error}") from None
        if form == "auto" and source.first[:1] == b"{":
            self._choose(source.first)
        if counting is not None and self._form in ("ndjson", "splunk"):
            raise BadQuestion(
                "--counter is for access logs; an event of a file of events is counted usage if it has counter.* itself"
            )
        if counting is not None and self._form != "json":
            counting.check(formats_of(form))

    def event(self, line: Line) -> Read:
        """What is posted of a line. Raises ValueError with the reason if the line can't be read."""
        if line.too_long:
            raise ValueError(f"is longer than {len(line.raw)} bytes")
        insert_id = f"{self._identity}-{line.offset:x}-{hashlib.blake2b(line.raw, digest_size=8).hexdigest()}"
        form = self._form
        if form == "auto":
            if line.raw[:1] == b"[":
                raise ValueError(
                    "is a JSON array; write one event a line (NDJSON), or post it by `metronome tick --file`"
                )
            form = self._choose(line.raw) if line.raw[:1] == b"{" else "apache"
        if form == "ndjson":
            if self._counting is not None:
                raise ValueError("is an event, not a line of an access log (--counter)")
            return Read(self._given(line.raw, insert_id))
        event, counted = self._read(form, line.raw)
        event["insert_id"] = insert_id
        if self._app:
            event["app"] = self._app
        return Read(orjson.dumps(event), str(event["event"]), counted)

    def _read(self, form: str, raw: bytes) -> tuple[Event, bool]:
        if form == "splunk":
            return splunk_event(raw), False
        logged = json_reader(raw) if form == "json" or self._apache is None else self._apache(raw)
        event = to_event(logged)
        return event, self._counting is not None and self._counting.complete(event, logged)

    def _choose(self, raw: bytes) -> str:
        """The format of a file of JSON lines, `json` (an access log) or `ndjson` (events). The first line decides."""
        try:
            record = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return "json"  # nginx writes some lines that aren't valid JSON; json_reader can read them
        self._form = "json" if isinstance(record, dict) and is_logged_request(record) else "ndjson"
        return self._form

    def _given(self, raw: bytes, insert_id: str) -> bytes:
        try:
            event = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"isn't JSON: {error}") from None
        if not isinstance(event, dict):
            raise ValueError('is JSON, but no event, such as {"id": "home"}')  # noqa: TRY004 - a reason
        if all(event.get(name) is None for name in TIME_NAMES):
            # Without a time, the event would get the day of the load. A load on another day would count it again.
            raise ValueError("has no @timestamp; `metronome tick --file` takes events of right now")
        # The text is posted as it stands, so that no digit of a number is lost. Names are added at its end: if a name
        # stands there twice, the last one counts.
        text = raw.rstrip()[:-1]
        for name, value in (("insert_id", insert_id), ("app", self._app)):
            if value and not event.get(name):
                text += b',"%b":%b' % (name.encode(), orjson.dumps(value))
        return text + b"}"


class Loading:
    """One run over one file."""

    def __init__(self, source: LogFile, reading: Reading, url: str, key: str, note: Note, kept: Kept) -> None:
        self.report = Report(source.name, before=note.line, kept_in=kept.path)
        self._source = source
        self._reading = reading
        self._url = url + "/tick?receipt=full"
        self._key = key
        self._note = note
        self._kept = kept
        self._answered = False

    def run(self, batch: int) -> None:
        # disable=None shows a bar on a terminal, and nothing in a log.
        with tqdm(total=self._source.size, unit="B", unit_scale=True, desc=self._source.name, disable=None) as bar:
            for lines in self._batches(batch):
                self._load(lines)
                bar.update(self._source.position - bar.n)
                bar.set_postfix(unreadable=self.report.unreadable, refresh=False)

    def _batches(self, batch: int) -> Iterator[list[tuple[Line, bytes]]]:
        lines: list[tuple[Line, bytes]] = []
        size = 0
        try:
            for line in self._source.lines(self._note.offset, self._note.line):
                body = self._read(line)
                if body is not None:
                    lines.append((line, body))
                    size += len(body)
                    if len(lines) == batch or size > MAX_BATCH_BYTES:
                        yield lines
                        lines, size = [], 0
        except Damaged as error:
            self.report.damage = str(error)
        yield lines

    def _read(self, line: Line) -> bytes | None:
        try:
            body, happened, counted = self._reading.event(line)
        except ValueError as error:
            if line.cut:
                self.report.cut = True
                return None
            self.report.unreadable += 1
            self._kept.keep(line, str(error))
            body, happened, counted = None, "", False
        if line.cut and body is not None and not self._source.is_finished(line):
            self.report.cut = True
            return None
        self.report.lines += 1
        if happened:
            self.report.happened[happened] += 1
        if counted:
            self.report.counted = (self.report.counted or 0) + 1
        self._note.reach(line)
        return body

    def _load(self, lines: list[tuple[Line, bytes]]) -> None:
        if lines:
            receipt = self._post(b"\n".join(body for _, body in lines))
            for row in receipt.get("rejected", ()):
                line = lines[row["index"]][0]
                where = f"{row['field']}: " if row.get("field") else ""
                self._kept.keep(line, f"refused by the gateway: {where}{row['reason']}")
                self.report.rejected += 1
            self.report.loaded += len(lines) - len(receipt.get("rejected", ()))
        self._kept.flush()
        self._note.save()

    def _post(self, body: bytes) -> dict[str, Any]:
        """Post until the gateway answers; raises StoreUnavailable after PATIENCE_S, or PATIENCE_FIRST_S at first."""
        started, wait_s = time.monotonic(), 1.0
        while True:
            try:
                receipt = client.post(self._url, body, "application/x-ndjson", key=self._key)
            except StoreUnavailable as error:
                patience_s = PATIENCE_S if self._answered else PATIENCE_FIRST_S
                # A busy gateway says when to come back. A gateway that is away says nothing, so the pause is short at
                # first and then doubles.
                pause_s = max(wait_s, error.retry_after_s or 0) if self._answered else wait_s
                if time.monotonic() + pause_s > started + patience_s:
                    raise StoreUnavailable(f"{error.message}; run the same command again to go on from there") from None
                tqdm.write(f"{error.message}; again in {pause_s:.0f} s", file=sys.stderr)
                time.sleep(pause_s)
                wait_s = min(2 * wait_s, _MAX_WAIT_S)
            else:
                self._answered = True
                return receipt
