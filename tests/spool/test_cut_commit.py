"""A kill between the two writes of a frame, over a frame of an earlier round of the log: a rescue, and no lost request."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

from metronome.spool import rescue
from metronome.spool.files import spool_files
from metronome.spool.quarantine import Quarantine
from metronome.spool.reader import Reader
from metronome.spool.spool import PAGE_BYTES, Spool
from metronome.spool.wal import is_damaged

HEAD, FRAME = 32, 24 + PAGE_BYTES


def test_a_commit_that_was_cut_over_an_earlier_one_costs_a_rescue_and_no_request(tmp_path: Path) -> None:
    living = tmp_path / "living"
    spool = Spool(living)
    bodies = [b"%d" % number * 3000 + b"\n" for number in range(8)]
    for body in bodies[:6]:
        spool.append(body, 1)
    assert spool._db is not None
    spool._db.execute("pragma wal_checkpoint(restart)")  # what follows is written over the log from its beginning
    for body in bodies[6:]:
        spool.append(body, 1)
    dead = tmp_path / "dead"
    dead.mkdir()
    for path in living.glob("web-0.1.db*"):
        shutil.copy(path, dead)
    spool.close()

    path = dead / "web-0.1.db"
    log = path.with_name("web-0.1.db-wal")
    data = log.read_bytes()
    salt = data[16:24]
    places = range(HEAD, len(data) - FRAME + 1, FRAME)
    place = next(place for place in places if data[place + 8 : place + 16] != salt)
    with log.open("r+b") as file:  # the head of one more frame, and then the process was killed
        os.pwrite(file.fileno(), struct.pack(">II", 2, 0) + salt + bytes(range(8)), place)

    assert is_damaged(path, PAGE_BYTES)
    rescue.begin(path)
    (broken,) = rescue.broken_files(dead)
    quarantine = Quarantine(dead)
    assert rescue.finish(broken, quarantine) == (len(bodies), 0)
    assert quarantine.count() == 0
    quarantine.close()
    found = []
    for each in spool_files(dead):
        reader = Reader(each)
        found += [row.body for row in reader.rows(10**9)]
        reader.close()
    assert sorted(b"".join(found).splitlines(keepends=True)) == bodies  # the rescue spools them in larger requests
