"""After an erasure no byte of the person's ids is anywhere, and everybody else's numbers are what they were."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
from archive_places import (  # noqa: F401  (fixtures)
    BUCKET,
    opened_credentials,
    opened_installation,
    opened_installation_for,
    opened_minio,
    opened_moto,
    opened_place,
    opened_seaweed,
)
from archiving import Installation
from conftest import wait_for
from test_archive_commands import command
from test_archive_run import run_killed

from metronome.dialects.query.read import condition
from metronome.erasure import receipt as receipts
from metronome.erasure.check import problems_of
from metronome.erasure.job import Job
from metronome.erasure.keeper import Keeper
from metronome.erasure.rewrite import with_ids_replaced, without_names
from metronome.erasure.target import Asked
from metronome.errors import BadPayload, BadQuestion
from metronome.periods import Period
from metronome.saved import Point, Saved
from metronome.segments import Segments
from metronome.spool.quarantine import Quarantine, Rejection
from metronome.spool.suppressed import Suppressed

START = datetime(2026, 11, 12, tzinfo=UTC)
DAYS = [START.date() + timedelta(days=n) for n in range(6)]

#: The person who goes: an anonymous id, a user's, another anonymous id that is linked to it, and one that JSON escapes.
GONE = ("anon-4711-gone", "user-ähm-gone", "anon-0815-gone", 'quo"ted\\gone')
OTHERS = ["p1-stays", "p2-stays", "p3-stays", "p4-stays"]


def events_of(rng: random.Random) -> list[dict[str, Any]]:
    """Six days of everybody, one of them to come; some of the others name the person."""
    events = []
    for number in range(240):
        who = rng.choice([*GONE, *OTHERS])
        at = START + timedelta(days=rng.randrange(6), seconds=rng.randrange(86400))
        event = {
            "id": rng.choice("abc"),
            "event": rng.choice(["view", "download", "buy"]),
            "@timestamp": at.isoformat(),
            "insert_id": f"i{number}",
            "distinct_id": who,
            "props": {"price": rng.choice([1.5, 2, 3]), "plan": rng.choice(["pro", "free"])},
        }
        if rng.random() < 0.2:
            event["invited_by"] = rng.choice([GONE[0], OTHERS[0]])
        if rng.random() < 0.1:
            event["tags"] = [rng.choice(GONE), "x"]
        events.append(event)
    links = [(GONE[0], GONE[1]), (GONE[2], GONE[1]), (GONE[3], GONE[1]), (OTHERS[0], OTHERS[1])]
    for number, (source, target) in enumerate(links):
        at = (START + timedelta(hours=number)).isoformat()
        link = {"event": "$identify", "distinct_id": target, "linked_id": source, "@timestamp": at}
        events.append({**link, "insert_id": f"l{number}"})
    return events


def numbers_of_others(found: Installation) -> dict[str, Any]:
    """Questions about everybody but the person."""
    others = [{"field": "distinct_id", "op": "is_not", "value": name} for name in GONE]
    asked = {"from": str(DAYS[0]), "to": str(DAYS[-1])}
    answers = {}
    for name, series in {
        "events by day": [{"event": e, "where": others, "measure": "count"} for e in ("view", "download", "buy")],
        "sum": [{"event": "buy", "where": others, "measure": "sum:props.price"}],
        "people": [{"event": "view", "where": others, "measure": "unique:distinct_id"}],
    }.items():
        response = found.gateway.http.post("/query/trend", json={**asked, "series": series})
        assert response.status_code == 200, response.text
        answers[name] = response.json["result"]
    return answers


def erase(found: Installation, asked: Asked, **options: Any) -> dict[str, Any]:
    return Job(found.work, lambda given: condition(given, "where")).run(asked, **options)


def every_byte(found: Installation) -> Iterator[tuple[str, bytes]]:
    """Everything that is stored, by place: files of this host, Parquet and JSON as text, objects, indices."""
    for path in found.settings.home.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(found.settings.home)), path.read_bytes()
            if path.suffix == ".parquet":
                yield f"{path} as rows", rows_of(path)
    for one in found.objects.list(""):
        body = b"".join(found.objects.read(one.key))
        yield one.key, body
        if one.key.endswith(".parquet"):
            copy = found.settings.home.parent / "copy.parquet"
            copy.write_bytes(body)
            yield f"{one.key} as rows", rows_of(copy)
    yield from found.sources().items()
    records = found.client.search(index=found.work.records.index.replace("archive", "*"), size=10000)
    yield "records", json.dumps(records.body, ensure_ascii=False).encode()


def rows_of(path: Path) -> bytes:
    with duckdb.connect() as database:
        rows = database.execute(f"select cast(columns(*) as varchar) from read_parquet('{path}')").fetchall()
    return "\n".join(str(value) for row in rows for value in row).encode()


def assert_nothing_of(found: Installation, ids: tuple[str, ...]) -> None:
    for place, content in every_byte(found):
        for name in ids:
            spelt = {
                name.encode(),
                json.dumps(name)[1:-1].encode(),
                json.dumps(name, ensure_ascii=False)[1:-1].encode(),
            }
            for needle in spelt:
                assert needle not in content, (place, name)


def fill(found: Installation, rng: random.Random, archived: int = 3) -> None:
    """Some days in the archive, others in Elasticsearch, and something of the person in every other place."""
    gateway = found.gateway
    gateway.accepted(events_of(rng))
    gateway.drain()
    for day in rng.sample(DAYS, archived):
        found.archive(day)
    found.archive(DAYS[0], keep_index=True) if DAYS[0] in found.days() else None
    # Day parts are made, and read.
    funnel = {"steps": [{"event": "view"}, {"event": "buy"}], "from": str(DAYS[0]), "to": str(DAYS[-1])}
    assert gateway.http.post("/query/funnel", json=funnel).status_code == 200
    quarantine = Quarantine(found.settings.spool_dir)
    index = f"{found.settings.index_prefix}-2026.11.12"
    source = json.dumps({"distinct_id": GONE[0], "a": 1}).encode()
    action = json.dumps({"create": {"_index": index, "_id": "q1"}}).encode()
    quarantine.add([Rejection(action, source, 400, "k", "r")])
    quarantine.add_unaccepted([(f'{{"distinct_id": "{GONE[2]}", '.encode(), "isn't JSON")])
    quarantine.add_unaccepted([(b'{"distinct_id": "p1-stays", ', "isn't JSON")])
    quarantine.close()
    # Saved rules name the person, in an earlier version too, and somebody else.
    for number, version in enumerate(((GONE[0], OTHERS[2]), (GONE[1],))):
        rule = {"where": [{"field": "distinct_id", "op": "in", "value": list(version)}]}
        Segments(found.client, found.settings).put("vips", GONE[2], rule, START)
        Saved(found.client, found.settings).put("dashboards", "d", "", {"n": number, "panels": [rule]})
    # An external series has numbers of the person, under two ids at one time, and of somebody else.
    at = datetime(2026, 11, 12, tzinfo=UTC)
    amounts = ((GONE[0], 1), (GONE[2], 2), (OTHERS[2], 4))
    points = [Point(at, value, {"customer": name, "country": "NL"}) for name, value in amounts]
    Saved(found.client, found.settings).points.put("invoices", points)
    # What waits in the spool: of the person, and of somebody else.
    gateway.accepted([{"id": "a", "distinct_id": name, "insert_id": f"w{name[:5]}"} for name in (GONE[1], OTHERS[2])])


def invoices(found: Installation) -> list[tuple[str, float]]:
    """The points of the external series: whose, and the value."""
    points = Saved(found.client, found.settings).points.read("invoices", Period())
    return sorted((point.dims["customer"], point.value) for point in points)


@pytest.mark.parametrize(("kind", "seed"), [("folder", 1), ("folder", 2), ("moto", 3), ("seaweed", 4), ("minio", 5)])
def test_no_byte_of_a_persons_ids_is_left_and_other_numbers_stay(
    installation_for: Callable[..., Installation], kind: str, seed: int
) -> None:
    found = installation_for(kind)
    fill(found, random.Random(seed))
    before = numbers_of_others(found)
    dry = erase(found, Asked(ids=(GONE[0],)), dry_run=True)
    assert dry["found"]["spool"] == {"deleted": 1, "rewritten": 0}
    given = erase(found, Asked(ids=(GONE[0],)))
    assert_nothing_of(found, GONE)
    assert numbers_of_others(found) == before
    assert receipts.problem_of(given, receipts.public_key(found.settings.home)) == ""
    assert not any(name in json.dumps(given, ensure_ascii=False) for name in GONE)
    assert problems_of(found.work, given) == []
    assert given["found"]["spool"] == {"deleted": 1, "rewritten": 0}
    assert given["found"]["quarantine"] == {"deleted": 2, "rewritten": 0}
    assert (
        given["found"]["saved"]
        == dry["found"]["saved"]
        == {
            **{kind: {"deleted": 0, "rewritten": n} for kind, n in {"segments": 2, "saved": 1, "versions": 1}.items()},
            "points": {"deleted": 2, "rewritten": 0},
        }
    )
    assert invoices(found) == [(OTHERS[2], 4)]
    assert Segments(found.client, found.settings).get("vips", 1).rule == {
        "where": [{"field": "distinct_id", "op": "in", "value": ["erased", OTHERS[2]]}]
    }
    for day in found.work.catalogue.days():
        assert found.work.care.verify(day, deep=True) == found.work.care.verify(day)
        assert found.work.care.verify(day).problems == ()
    again = erase(found, Asked(ids=(GONE[0],)))
    assert (again["found"]["elasticsearch"], again["found"]["archive"]) == ({}, [])
    # What the drain ships afterwards is the other's event alone.
    found.gateway.drain()
    assert_nothing_of(found, GONE)


def test_killed_at_any_step_and_run_again_nothing_of_the_person_is_left(installation: Installation) -> None:
    fill(installation, random.Random(6), archived=2)
    before = numbers_of_others(installation)
    last, ended = 1, run_killed(installation, 1, "erase", GONE[0])
    while ended.returncode:
        assert ended.returncode == -9, ended.stderr
        assert numbers_of_others(installation) == before, f"after step {last}"
        last += 1 + last // 3
        ended = run_killed(installation, last, "erase", GONE[0])
    assert last > 40
    assert_nothing_of(installation, GONE)
    assert numbers_of_others(installation) == before


def test_columns_that_outlived_their_part_go_too(installation: Installation) -> None:
    left = installation.settings.parts_dir / "merged" / "left"
    left.mkdir(parents=True)
    (left / "0.texts").write_bytes(GONE[0].encode())
    installation.gateway.accepted([{"id": "a", "distinct_id": GONE[0]}])
    installation.gateway.drain()
    erase(installation, Asked(ids=(GONE[0],)))
    assert_nothing_of(installation, GONE)


def test_a_replayed_event_of_an_erased_person_doesnt_come_back(installation: Installation) -> None:
    fill(installation, random.Random(7), archived=1)
    erase(installation, Asked(ids=(GONE[0],)))
    posted = [{"id": "a", "distinct_id": name, "insert_id": f"again{name[:6]}"} for name in (*GONE, OTHERS[0])]
    receipt = installation.gateway.http.post("/tick?receipt=full", json=posted).json
    assert (receipt["accepted"], receipt["suppressed"], receipt["rejected"]) == (1, 4, [])
    installation.gateway.drain()
    assert_nothing_of(installation, GONE)


def test_what_the_drain_reads_of_an_erased_person_isnt_sent(installation: Installation) -> None:
    fill(installation, random.Random(8), archived=1)
    erase(installation, Asked(ids=(GONE[0],)))
    suppressed = Suppressed(installation.settings.spool_dir)
    path = installation.settings.spool_dir / "suppressed.json"
    hidden = path.read_bytes()
    # It was spooled while the file wasn't there yet, as by another host.
    path.unlink()
    installation.gateway.accepted([{"id": "a", "distinct_id": GONE[0]}, {"id": "a", "distinct_id": OTHERS[0]}])
    path.write_bytes(hidden)
    assert suppressed.now() is not None
    before = len(installation.sources())
    installation.gateway.drain()
    # The other's, and the one that waited before.
    assert len(installation.sources()) == before + 2
    assert not any(GONE[0].encode() in source for source in installation.sources().values())


def test_an_anonymous_person_is_counted_and_not_known(installation: Installation) -> None:
    fill(installation, random.Random(9))

    def counted() -> Any:
        series = [{"event": e, "measure": "count"} for e in ("view", "buy")]
        asked = {"series": series, "from": str(DAYS[0]), "to": str(DAYS[-1])}
        return installation.gateway.http.post("/query/trend", json=asked).json["result"]

    installation.gateway.drain()
    before, others = counted(), numbers_of_others(installation)
    given = erase(installation, Asked(ids=(GONE[1],), mode="anonymise"))
    assert counted() == before
    assert_nothing_of(installation, GONE)
    people = {"series": [{"event": "view", "measure": "unique:distinct_id"}], "from": str(DAYS[0]), "to": str(DAYS[-1])}
    found = installation.gateway.http.post("/query/trend", json={**people, "interval": "total"}).json["result"]
    assert found["series"][0]["total"] == 5
    assert others["events by day"]["series"][0]["total"] < before["series"][0]["total"]
    assert given["found"]["spool"] == {"deleted": 0, "rewritten": 0}
    # The sums of an external series stay, too, under the same pseudonym.
    assert given["found"]["saved"]["points"] == {"deleted": 0, "rewritten": 2}
    pseudonym = f"anonymous-{given['job']}"
    assert invoices(installation) == [(pseudonym, 1), (pseudonym, 2), (OTHERS[2], 4)]


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        pytest.param(
            Asked(where={"field": "props.plan", "op": "is", "value": "free"}),
            lambda event: event.get("props.plan") == "free",
            id="the events of a filter",
        ),
        pytest.param(
            Asked(start=START + timedelta(days=1, hours=5), end=START + timedelta(days=3)),
            lambda event: "2026-11-13T05" <= event["@timestamp"] < "2026-11-15",
            id="the events of a period",
        ),
    ],
)
def test_events_go_by_filter_or_period(
    installation: Installation, asked: Asked, gone: Callable[[dict[str, Any]], bool]
) -> None:
    fill(installation, random.Random(10))
    installation.gateway.drain()
    before = everything(installation)
    erase(installation, asked)
    assert everything(installation) == {key: source for key, source in before.items() if not gone(json.loads(source))}


def everything(found: Installation) -> dict[str, bytes]:
    """Every document by `_id`, wherever it is."""
    documents = {key.rpartition("/")[2]: source for key, source in found.sources().items()}
    for day in found.work.catalogue.days():
        kept = found.work.catalogue.get(day)
        assert kept is not None
        for part in kept.manifest.parts:
            copy = found.settings.home.parent / "copy.parquet"
            copy.write_bytes(b"".join(found.objects.read(part.key)))
            with duckdb.connect() as database:
                rows = database.execute(f"select _id, _source from read_parquet('{copy}')").fetchall()
            documents.update((number, source.encode()) for number, source in rows)
    return documents


def test_one_leaked_property_goes_and_every_other_byte_stays(installation: Installation) -> None:
    fill(installation, random.Random(11))
    installation.gateway.drain()
    before = everything(installation)
    given = erase(installation, Asked(name="invited_by"))
    wanted = {}
    for key, source in before.items():
        document = json.loads(source)
        document.pop("invited_by", None)
        wanted[key] = document
    after = everything(installation)
    assert {key: json.loads(source) for key, source in after.items()} == wanted
    assert all(after[key] == source for key, source in before.items() if b"invited_by" not in source)
    assert given["suppressed"] is False


def test_old_versions_of_objects_go_too(installation_for: Callable[..., Installation], moto: str) -> None:
    found = installation_for("moto")
    client = boto3.client("s3", endpoint_url=moto)
    bucket = "versions"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    found = installation_for("moto", archive=f"s3://{bucket}/p")
    fill(found, random.Random(12))
    erase(found, Asked(ids=(GONE[0],)))
    versions = client.list_object_versions(Bucket=bucket)
    assert "DeleteMarkers" not in versions
    assert sorted(row["Key"] for row in versions["Versions"] if row["IsLatest"]) == found.keys()
    affected = {row["Key"] for row in versions["Versions"] if not row["IsLatest"]}
    assert affected == set()
    for row in versions["Versions"]:
        body = client.get_object(Bucket=bucket, Key=row["Key"], VersionId=row["VersionId"])["Body"].read()
        assert not any(name.encode() in body for name in GONE)


def test_a_killed_archivers_orphan_goes_too(installation: Installation) -> None:
    fill(installation, random.Random(13))
    day = next(iter(installation.work.catalogue.days()))
    root = Path(installation.settings.archive.removeprefix("file://"))
    orphan = root / f"day={day}" / "part-0009-0000000000000000.parquet"
    orphan.write_bytes(GONE[0].encode())
    lonely = root / "day=2020-01-01" / "part-0000-0000000000000000.parquet"
    lonely.parent.mkdir()
    lonely.write_bytes(GONE[0].encode())
    erase(installation, Asked(ids=(GONE[0],)))
    assert (orphan.exists(), lonely.exists()) == (False, False)


def test_a_receipt_that_was_changed_isnt_valid(installation: Installation, tmp_path: Path) -> None:
    installation.gateway.accepted({"id": "a", "distinct_id": GONE[0], "@timestamp": f"{DAYS[0]}T10:00:00Z"})
    installation.gateway.drain()
    installation.archive(DAYS[0])
    erased = command(installation, "person", "erase", GONE[0])
    assert erased.returncode == 0, erased.stderr
    path = tmp_path / "receipt.json"
    path.write_text(erased.stdout)
    valid = command(installation, "person", "verify", str(path))
    assert (valid.returncode, valid.stdout[:5]) == (0, "valid"), valid
    path.write_text(erased.stdout.replace('"deleted": 1', '"deleted": 2'))
    changed = command(installation, "person", "verify", str(path))
    assert (changed.returncode, "isn't what was signed" in changed.stdout) == (1, True), changed
    path.write_text("{}")
    assert command(installation, "person", "verify", str(path)).returncode == 1
    with pytest.raises(BadPayload):
        receipts.read("[1]")


def test_everything_of_a_person_is_exported_once(installation: Installation, tmp_path: Path) -> None:
    fill(installation, random.Random(14))
    installation.gateway.drain()
    wanted = {
        key: source for key, source in everything(installation).items() if json.loads(source)["distinct_id"] in GONE
    }
    path = tmp_path / "person.ndjson"
    done = command(installation, "person", "export", GONE[2], "-o", str(path))
    assert done.returncode == 0, done.stderr
    assert sorted(path.read_bytes().splitlines()) == sorted(wanted.values())
    over_http = installation.gateway.http.post("/privacy/exports", json={"distinct_ids": [GONE[2]]})
    assert sorted(over_http.data.splitlines()) == sorted(wanted.values())


def test_an_erasure_can_be_asked_for_over_http(installation: Installation) -> None:
    fill(installation, random.Random(15))
    http = installation.gateway.http
    asked = http.post("/privacy/deletions", json={"distinct_ids": [GONE[0]]})
    assert (asked.status_code, asked.json["state"]) == (202, "waiting")
    keeper = Keeper(installation.settings, None, every_s=0.05)
    keeper.start()
    try:
        path = f"/privacy/jobs/{asked.json['job']}"
        wait_for(lambda: http.get(path).json["state"] == "done", "the job to be done", 60)
    finally:
        keeper.stop()
    given = http.get(path).json["receipt"]
    assert receipts.problem_of(given, receipts.public_key(installation.settings.home)) == ""
    assert_nothing_of(installation, GONE)
    assert http.get("/privacy/jobs/none").status_code == 404


@pytest.mark.parametrize(
    "body", [{}, {"distinct_ids": []}, {"distinct_ids": [""]}, {"distinct_ids": ["a"], "mode": "hide"}, {"ids": ["a"]}]
)
def test_a_deletion_that_cant_be_meant_is_refused(installation: Installation, body: dict[str, Any]) -> None:
    assert installation.gateway.http.post("/privacy/deletions", json=body).status_code == 400


def test_nothing_isnt_erased_by_leaving_everything_out(installation: Installation) -> None:
    with pytest.raises(BadQuestion):
        erase(installation, Asked())


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (b'{"a":"me","b":1.10}', b'{"a":null,"b":1.10}'),
        (b'{"me":"you"}', b'{"me":"you"}'),
        (b'{"a":["x","me"], "b":"me too"}', b'{"a":["x",null], "b":"me too"}'),
        (b'{"a":"m\\u0065"}', b'{"a":null}'),
        (b'{"distinct_id":7,"price":7}', b'{"distinct_id":null,"price":7}'),
    ],
)
def test_only_values_that_are_the_id_are_replaced(source: bytes, wanted: bytes) -> None:
    assert with_ids_replaced(source, {"me", "7"}, b"null") == wanted


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (b'{"a":1.10,"secret":"x"}', b'{"a":1.10}'),
        (b'{"a":1.10}', b'{"a":1.10}'),
        (b'{"p":{"secret":1,"b":2.50}}', b'{"p":{"secret":1,"b":2.50}}'),
        (b'{"secret":{"deep":1},"secret.x":2,"secrets":3}', b'{"secrets":3}'),
    ],
)
def test_a_name_goes_with_what_is_below_it(source: bytes, wanted: bytes) -> None:
    assert without_names(source, ("secret",)) == wanted


def test_a_nested_name_goes_alone() -> None:
    assert without_names(b'{"p":{"secret":1,"b":2.50}}', ("p.secret",)) == b'{"p":{"b":2.50}}'
