"""Claim: the spool's folder is its owner's alone, and nobody's files are written through it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metronome.errors import SetupError
from metronome.files import Lock
from metronome.spool.files import make_folder
from metronome.spool.quarantine import Quarantine, Rejection
from metronome.spool.status import write_drain_status

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@as_root
@pytest.mark.parametrize("place", ["spool", "home"])
def test_root_does_not_write_into_what_another_user_can_change(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "home" / "spool"
    make_folder(folder)
    os.chown(folder if place == "spool" else folder.parent, NOBODY, NOBODY)
    with pytest.raises(SetupError, match="belongs to user nobody; run as that user, not as root"):
        make_folder(folder)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o2770])
def test_a_folder_that_others_may_write_is_closed_to_them(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(mode)
    make_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_link_in_the_place_of_a_lock_or_of_the_drains_word_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("of somebody else")
    for name in ("drain.lock", "drain.json.new"):
        (tmp_path / name).symlink_to(target)

    with pytest.raises(SetupError, match=r"drain\.lock can.t be written"):
        Lock(tmp_path / "drain.lock").take()
    write_drain_status(tmp_path, running=True, trouble="")

    assert target.read_text() == "of somebody else"


def test_a_lock_whose_file_was_removed_is_known_to_keep_nobody_away(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "a.lock")
    assert (lock.take(), lock.is_in_place()) == (True, True)
    (tmp_path / "a.lock").unlink()
    assert (lock.held, lock.is_in_place()) == (True, False)
    lock.release()


@as_root
def test_what_root_replays_can_be_shipped_and_deleted_by_the_folders_owner(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    spool = tmp_path / "home" / "spool"
    make_folder(spool)
    quarantine = Quarantine(spool)
    quarantine.add([Rejection(b'{"create":{"_index":"t-2026.11.22","_id":"a"}}', b"{}", 400, "odd", "odd")])
    quarantine.close()
    for path in (spool.parent, spool, *spool.iterdir()):
        os.chown(path, NOBODY, NOBODY)

    run = subprocess.run(
        [sys.executable, "-m", "metronome", "quarantine", "replay"],
        env={**os.environ, "METRONOME_HOME": str(spool.parent)},
        capture_output=True,
        text=True,
    )

    assert run.stdout == "1 events spooled again\n", run.stderr
    assert {path.name: path.stat().st_uid for path in spool.iterdir() if path.stat().st_uid != NOBODY} == {}
    assert (spool / "replay-0.1.db").exists()
