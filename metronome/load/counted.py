"""`metronome load --counter`: which lines of an access log are counted usage, and what they say for COUNTER.

    1. which     a view or a download, or a line of which a column says that it was denied; where there is a list of
                 items, only what is in the list
    2. what      attributes by their flat names (counter/usage/names.py), from the line, from the list of items, and
                 from the columns that --map names. The last that says an attribute counts

The gateway makes hashes of visitors. Nothing of them is kept here but in the file of lines that can't be read, which is
as private as the log.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from metronome.counter.usage import Invalid, names, read
from metronome.errors import BadQuestion, SetupError
from metronome.event.fields import DOWNLOAD, VIEW, Event
from metronome.load.accesslog import Logged, happened

#: Where the visitor's address stands: directives of Apache's LogFormat, and names that JSON access logs use.
_ADDRESSES = (
    *("%a", "%h", "remote_addr", "client_ip", "request.client_ip", "remote_ip", "request.remote_ip", "clienthost"),
    *("clientip", "client.ip", "source.ip", "remote_host", "client.address", "source.address"),
)

_NOTHING = (None, "", "-")


class Counting:
    """What makes counted usage of lines. `site` is the address of the site, for logs without the host."""

    def __init__(self, columns: Mapping[str, str] | None = None, items: Items | None = None, site: str = "") -> None:
        self._columns = {name: column if "%" in column else column.lower() for name, column in (columns or {}).items()}
        self._items = items
        self._site = site.rstrip("/")
        for name in self._columns:
            if not names.is_name(name):
                raise BadQuestion(f"--map: {name!r} is no attribute of a usage; docs/counter.md has them all")
        if site and not (site.startswith(("http://", "https://")) and urlsplit(site).netloc):
            raise BadQuestion(f"--site: {site!r} isn't the address of a site, such as https://repo.example")

    def check(self, formats: list[str]) -> None:
        """Raises BadQuestion where a column isn't one of these LogFormats'."""
        for name, column in self._columns.items():
            if not any(column in form for form in formats):
                raise BadQuestion(f"--map: {name}={column}: the log's format has no {column}, such as %u or %{{Name}}i")

    def complete(self, event: Event, logged: Logged) -> bool:
        """Add the attributes to the event of a line, if it is a usage; says whether it is.

        Raises ValueError where the line doesn't say who it was.
        """
        mapped = self._mapped(logged)
        path = str(event.get("id", ""))
        item = self._items.find(path) if self._items is not None else {}
        what = happened("GET", 200, path) if "counter.denial" in mapped else event["event"]
        if not path or item is None or what not in (VIEW, DOWNLOAD):
            return False
        event |= {"action_labels": [what, "web"], **self._visitor(logged), **item, **mapped}
        if page := self._page(logged):
            event.setdefault("pageview_info.page_url", page)
        return True

    def _mapped(self, logged: Logged) -> dict[str, Any]:
        found = {name: logged.columns.get(column) for name, column in self._columns.items()}
        mapped = {name: value for name, value in found.items() if value not in _NOTHING}
        if "counter.ip" in mapped:
            # 198.51.100.7, 203.0.113.9    each proxy adds whom it was asked by: the last is what ours has seen
            mapped["counter.ip"] = str(mapped["counter.ip"]).rpartition(",")[2].strip()
        return mapped

    def _visitor(self, logged: Logged) -> dict[str, Any]:
        """Address and agent. Without the address, all visitors would be one; without the agent, all would be robots."""
        address = next((value for name in _ADDRESSES if (value := logged.columns.get(name)) not in _NOTHING), None)
        if address is None and "counter.ip" not in self._columns:
            raise ValueError("has no address of the visitor; name its column: --map counter.ip=COLUMN")
        logs_agent = logged.agent is not None or any(name.lower() == "%{user-agent}i" for name in logged.columns)
        if not logs_agent and "counter.user_agent" not in self._columns:
            raise ValueError("has no agent of the visitor; name its column: --map counter.user_agent=COLUMN")
        return {"counter.ip": address, "counter.user_agent": "" if logged.agent in _NOTHING else logged.agent}

    def _page(self, logged: Logged) -> str:
        """The address as it was asked for, with its query: two clicks on it are a double click."""
        target = logged.target or ""
        if not target.startswith("/"):
            return target if target.startswith(("http://", "https://")) else ""
        if logged.host and logged.host != "_":  # nginx's name for "any host"
            return f"{logged.scheme or 'http'}://{logged.host}{target}"
        return self._site + target if self._site else ""


class Items:
    """A list of items: what is used under which path, with attributes of the item, its title and its databases.

    A path is as the log has it, without query. `/journal/*` stands for all below `/journal/`; the longest one counts.
    """

    def __init__(self, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
        self._rows = dict(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, path: str) -> dict[str, Any] | None:
        """The attributes of what is used under a path; None if it isn't in the list."""
        found = self._rows.get(path)
        while found is None and "/" in path:
            path = path.rpartition("/")[0]
            found = self._rows.get(f"{path}/*")
        return found


def read_items(file: Path) -> Items:
    """The list of items of a file: CSV (or with tabs), or a JSON object a line, with `path` and attributes.

    Raises SetupError where the file can't be opened, and BadQuestion that names the line at fault.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadQuestion(f"--items: {file} isn't UTF-8") from None
    except OSError as error:
        raise SetupError(f"--items: {file}: {error.strerror}") from None
    rows = _from_lines(text) if text.lstrip()[:1] == "{" else _from_table(text)
    return Items(_checked(file, number, row) for number, row in rows)


def _from_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line and not line.isspace():
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError:
                yield number, None


def _from_table(text: str) -> Iterator[tuple[int, Any]]:
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    for row in table:
        # Cells behind the last column stand under None.
        yield table.line_num, {name: value for name, value in row.items() if value} if None not in row else None


def _checked(file: Path, number: int, row: Any) -> tuple[str, dict[str, Any]]:
    where = f"--items: {file}, line {number}: "
    if not isinstance(row, dict) or not isinstance(row.get("path"), str):
        raise BadQuestion(f"{where}it isn't a path with attributes, such as path,item_guid,counter.item.name")
    path = row.pop("path")
    if unknown := [name for name in row if not names.is_attribute(name)]:
        raise BadQuestion(f"{where}{unknown[0]!r} is no attribute of a usage; docs/counter.md has them all")
    try:
        read(names.attributes({"item_guid": path[:255], "action_labels": VIEW, **row}))
    except Invalid as error:
        (at, detail), *_ = error.problems
        raise BadQuestion(f"{where}{'.'.join(at)}: {detail}") from None
    return path, row
