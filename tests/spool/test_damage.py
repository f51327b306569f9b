"""Claim: whatever a disk changes costs the row that it hit, is told, and no reader runs on for ever."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from metronome.spool import rescue
from metronome.spool.files import spool_files
from metronome.spool.quarantine import Quarantine
from metronome.spool.reader import Damaged, Reader, Row
from metronome.spool.spool import PAGE_BYTES, Spool
from metronome.spool.status import backlog

#: Bodies of a row each: many on a page, one on a page, and some that take several.
SIZES = [200] * 120 + [7_000] * 12 + [9_000] * 6 + [40_000] * 5 + [200] * 40


def body(number: int, size: int) -> bytes:
    line = b'{"create":{"_index":"x","_id":"%d"}}\n{"id":"%d"}\n' % (number, number)
    return (line * (size // len(line) + 1))[: max(len(line), size) - 1] + b"\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, set[bytes]]:
    """The bytes of a real spool file, some of whose rows were shipped and deleted, and the bodies that wait in it."""
    folder = tmp_path_factory.mktemp("whole")
    spool = Spool(folder)
    bodies = [body(number, size) for number, size in enumerate(SIZES)]
    for one in bodies:
        spool.append(one, one.count(b"\n") // 2)
    reader = Reader(folder / "web-0.1.db")
    reader.delete(reader.rows(10_000))
    left = {row.body for row in reader.rows(2**30)}
    reader.close()
    spool.close()
    assert len(left) > 100
    return (folder / "web-0.1.db").read_bytes(), left


@dataclass
class Found:
    """What is read of a file in whatever way, and how much of it is told as damaged."""

    bodies: set[bytes] = field(default_factory=set)
    damaged: int = 0

    def take(self, rows: list[Row]) -> None:
        self.bodies |= {row.body for row in rows if row.intact}
        self.damaged += sum(not row.intact for row in rows)


def found_in(path: Path) -> Found:
    """As the drain reads it: in order and in parts; again what it passed over; from its pages if it is damaged."""
    found = Found()
    try:
        reader = Reader(path)
        try:
            for _ in range(3):
                while rows := reader.rows(20_000):
                    found.take(rows)
                    reader.delete(rows)
                reader.read_again_what_is_left()
            reader.pending()
        finally:
            reader.close()
    except Damaged:
        found.take(list(rescue.rows(path)))
    return found


def write(path: Path, image: bytes) -> None:
    path.write_bytes(image)
    for beside in ("-wal", "-shm"):
        Path(f"{path}{beside}").unlink(missing_ok=True)


def test_a_bit_that_flips_costs_at_most_the_row_it_hit_and_is_told(
    whole: tuple[bytes, set[bytes]], tmp_path: Path
) -> None:
    image, written = whole
    path = tmp_path / "web-0.1.db"
    bits = random.Random(20261124)
    # The heads of pages and the first page are what hurts: there every byte; elsewhere every 64th, and of these a part.
    places = [
        place
        for place in range(len(image))
        if place < 120
        or (place % PAGE_BYTES < 12 and place < 12 * PAGE_BYTES)
        or (place % 64 == 0 and bits.random() < 0.25)
    ]
    lost: dict[int, int] = {}
    for place in places:
        write(path, image[:place] + bytes([image[place] ^ 1 << bits.randrange(8)]) + image[place + 1 :])
        found = found_in(path)
        assert found.bodies <= written | {body(n, s) for n, s in enumerate(SIZES)}, "nothing is invented"
        missing = len(written - found.bodies)
        if missing:
            lost[place] = missing
            assert found.damaged, place
    assert {place: count for place, count in lost.items() if count > 1} == {}
    assert len(lost) > 10, "some hit a row"


@pytest.mark.parametrize("cut", ["zeros", "end"])
def test_of_a_file_that_was_cut_all_that_is_before_the_cut_is_found(
    whole: tuple[bytes, set[bytes]], tmp_path: Path, cut: str
) -> None:
    image, written = whole
    path = tmp_path / "web-0.1.db"
    counts = []
    for place in range(0, len(image), 7919):
        write(path, image[:place] + (bytes(len(image) - place) if cut == "zeros" else b""))
        found = found_in(path)
        before = {one for one in written if 0 <= image.find(one[:150]) < place - PAGE_BYTES * 4}
        assert before <= found.bodies <= written | {body(n, s) for n, s in enumerate(SIZES)}
        counts.append(len(found.bodies))
    assert counts[-1] > 0.9 * len(written)


HEADS = [
    pytest.param("body = cast(body as text)", 0, id="a body that became text is the same bytes"),
    pytest.param("body = 7", 1, id="a body that became a number"),
    pytest.param("body = null", 1, id="a body that is gone"),
    pytest.param("crc = 'x'", 1, id="a checksum that became text"),
    pytest.param("crc = 0.5", 1, id="a checksum that became a fraction"),
    pytest.param("events = x'00'", 0, id="a count that became bytes is counted anew"),
    pytest.param("events = -3", 0, id="a negative count is counted anew"),
    pytest.param("received_ms = 'yesterday'", 0, id="a time that became text isn't needed"),
]


@pytest.mark.parametrize(("change", "damaged"), HEADS)
def test_a_damaged_head_costs_its_own_row_at_most(tmp_path: Path, change: str, damaged: int) -> None:
    spool = Spool(tmp_path)
    for number in range(3):
        spool.append(body(number, 100), 1)
    assert spool._db is not None
    spool._db.execute("pragma ignore_check_constraints = on")
    spool._db.execute("pragma writable_schema = on")
    spool._db.execute("update sqlite_schema set sql = replace(sql, ' not null', '')")
    spool.close()
    spool = Spool(tmp_path)
    assert spool._db is not None
    spool._db.execute(f"update request set {change} where id = 2")
    spool.close()

    found = found_in(tmp_path / "web-0.1.db")

    assert (len(found.bodies), found.damaged) == (3 - damaged, damaged)


TALLIES = [
    pytest.param("last_id = 9223372036854775807", id="a last id that is huge"),
    pytest.param("last_id = 1", id="a last id that is too small"),
    pytest.param("last_id = 'x'", id="a last id that is text"),
    pytest.param("requests = 1048579, events = 4", id="more requests than there are"),
    pytest.param("requests = 'many'", id="a number of requests that is text"),
    pytest.param("requests = -5", id="a negative number of requests"),
]


@pytest.mark.parametrize("change", TALLIES)
def test_a_damaged_tally_costs_nothing(tmp_path: Path, change: str) -> None:
    spool = Spool(tmp_path)
    for number in range(3):
        spool.append(body(number, 100), 1)
    assert spool._db is not None
    spool._db.execute(f"update tally set {change}")
    backlog(tmp_path)
    spool.close()

    found = found_in(tmp_path / "web-0.1.db")

    assert (len(found.bodies), found.damaged) == (3, 0)
    if not rescue.broken_files(tmp_path):
        assert backlog(tmp_path).requests in (0, 3)


def test_no_length_that_a_disk_made_up_takes_memory(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(body(1, 40_000), 1)
    spool.close()
    path = tmp_path / "web-0.1.db"
    image = path.read_bytes()
    # The cell's payload length, 40,0xx as three bytes: its first becomes the largest there is.
    at = image.index(body(1, 40_000)[:40])
    head = image.rindex(b"\x82", at - 24, at)
    write(path, image[:head] + b"\xff\xff" + image[head + 2 :])
    tracemalloc.start()
    found_in(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2**20


def test_a_damaged_file_is_rescued_into_a_spool_and_kept_beside_it(
    whole: tuple[bytes, set[bytes]], tmp_path: Path
) -> None:
    image, written = whole
    image = image.replace(body(7 * 17, 200)[:-1], body(7 * 17, 200)[:-1].upper())
    (tmp_path / "web-0.1.db").write_bytes(b"x" * 100 + image[100:])
    quarantine = Quarantine(tmp_path)

    broken = rescue.begin(tmp_path / "web-0.1.db")
    assert (spool_files(tmp_path), rescue.broken_files(tmp_path)) == ([], [broken])
    good, damaged = rescue.finish(broken, quarantine)

    assert damaged == 1
    assert [row.id for row in quarantine.list()] == ["web-0.1.db#120"]
    assert rescue.broken_files(tmp_path) == []
    (kept,) = tmp_path.glob("web-0.1.db.damaged-*")
    assert kept.read_bytes()[100:] == image[100:]
    (spooled,) = spool_files(tmp_path)
    assert (spooled.name, backlog(tmp_path).age_s > 0) == ("rescue-0.1.db", True)
    together = b"".join(found_in(spooled).bodies)
    assert all(one in together for one in written - {body(7 * 17, 200)})
    # Rows that were shipped before may come again; they meet their 409s.
    assert len(written) - 1 <= good <= len(SIZES)
    quarantine.close()


def test_what_stands_in_the_log_of_a_damaged_file_is_rescued(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    bodies = {body(number, size) for number, size in enumerate([200, 9_000, 40_000])}
    for one in bodies:
        spool.append(one, 1)
    image, log = (tmp_path / "web-0.1.db").read_bytes(), (tmp_path / "web-0.1.db-wal").read_bytes()
    spool.close()
    copy = tmp_path / "copy.db"
    copy.write_bytes(b"x" * len(image))
    (tmp_path / "copy.db-wal").write_bytes(log)

    assert {row.body for row in rescue.rows(copy) if row.intact} == bodies
