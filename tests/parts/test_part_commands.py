"""`metronome parts` builds, verifies, lists and drops; and none of it is loaded where a tick passes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from part_days import DAY, Days, event, opened_days  # noqa: F401  (a fixture)

from metronome.cli import main
from metronome.errors import BadQuestion
from metronome.parts import commands
from metronome.parts.commands import days_of
from metronome.spool.spool import Spool

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(days: Days) -> Run:
    environ = {
        "METRONOME_HOME": str(days.settings.home),
        "METRONOME_INDEX_PREFIX": days.settings.index_prefix,
        "ELASTICSEARCH_URL": days.settings.elasticsearch_url,
        "ELASTICSEARCH_USERNAME": days.settings.elasticsearch_username,
        "ELASTICSEARCH_PASSWORD": days.settings.elasticsearch_password,
    }

    def command(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["parts", *arguments], env=environ)
        return result.exit_code, result.stdout

    return command


def test_parts_are_built_verified_listed_and_dropped(days: Days, run: Run) -> None:
    days.write([event(n) for n in range(1200)])
    status, text = run("build")
    part = days.folder.part(DAY)
    assert part is not None
    assert (status, text) == (0, f"2026-11-03  1,200 events  {part.bytes:,} bytes\n")
    assert run("verify", "2026-11-03..2026-11-03") == (0, "2026-11-03  ok: 1,200 events, every id the same\n")
    status, text = run("list")
    assert (status, text.split("  read ")[0]) == (0, f"2026-11-03  1,200 events  {part.bytes:,} bytes  1 files")
    assert run("drop") == (0, "2026-11-03  dropped\n")
    assert run("list") == (0, "")


def test_verify_says_what_differs_and_fails(days: Days, run: Run) -> None:
    days.write([event(n) for n in range(3)], ids=["a", "b", "c"])
    run("build")
    days.delete("b")
    status, text = run("verify")
    assert (status, text) == (
        1,
        "2026-11-03  DIFFERS: 3 events in the part, 2 in Elasticsearch; only in the part: b; "
        "`metronome parts build 2026-11-03` mends it\n",
    )
    run("build")
    assert run("verify")[0] == 0


def test_a_day_without_an_index_is_said_to_have_no_events(run: Run) -> None:
    assert run("build", "2026-10-01") == (0, "2026-10-01  no events\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yesterday", "is no day: write 2026-11-03"),
        ("2026-11-03..", "is no day"),
        ("2026-11-03..2026-11-01", "ends before it begins"),
    ],
)
def test_days_that_cannot_be_understood_are_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(BadQuestion, match=message):
        days_of(text)


def test_days_include_both_ends() -> None:
    assert [str(day) for day in days_of("2026-10-31..2026-11-02")] == ["2026-10-31", "2026-11-01", "2026-11-02"]


def test_a_build_waits_while_the_spool_lags(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_LAG_S", 0.0)
    monkeypatch.setattr(commands, "_LOOK_S", 0.0)
    keeps_up = commands.spool_keeps_up(days.settings)
    assert keeps_up()
    spool = Spool(days.settings.spool_dir)
    spool.append(b'{"create":{"_index":"x","_id":"1"}}\n{}\n', 1)
    monkeypatch.setattr("metronome.spool.status.time.time", lambda: 4e9)
    assert not keeps_up()
    spool.close()


@pytest.mark.parametrize("module", ["metronome.web.app", "metronome.drain.drain", "metronome.cli"])
def test_the_path_of_a_tick_loads_none_of_it(module: str) -> None:
    # Elasticsearch's client imports pyarrow, and with it numpy, where somebody has installed it: that isn't ours to keep out.
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        f"import {module}; print(sorted({{'duckdb', 'numpy', 'msgspec', 'boto3'}} & set(sys.modules)))"
    )
    root = Path(__file__).parent.parent.parent
    found = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
