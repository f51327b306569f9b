"""`python -m bench [NAME …]`: intake, ingest, single, tock, streams, video, plays, parts, archive, journeys, persons,
counter, dashboard.

All of these by default; `abuse` if it is named. A table on standard output, JSON in bench/results/.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import (
    abuse,
    archive,
    counted,
    dashboard,
    host,
    ingest,
    intake,
    journeys,
    months,
    parts,
    persons,
    plays,
    single,
    streams,
    sushi,
    tock,
    video,
)
from metronome import __version__, process

#: What is measured where nothing is named.
_ALL = "intake ingest single tock streams video plays parts archive journeys persons counter dashboard".split()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("which", nargs="*", default=[], help="any of the names above")
    parser.add_argument("--events", type=int, default=300_000, help="events of a run of ingest")
    parser.add_argument("--runs", type=int, default=5, help="runs of ingest and single, after a warm-up")
    parser.add_argument(
        "--beside", type=Path, help="checkout of another version, measured in turn by ingest and streams"
    )
    parser.add_argument("--tock-events", type=int, default=1_000_000)
    parser.add_argument("--parts-events", type=int, default=300_000, help="events of the day of parts")
    parser.add_argument("--journeys-events", type=int, default=1_000_000, help="events of funnels and retention")
    parser.add_argument("--persons-events", type=int, default=1_000_000, help="events of figures of persons")
    parser.add_argument("--fresh-events", type=int, default=1_000_000, help="events that come before a question")
    parser.add_argument("--archive-events", type=int, default=300_000, help="events of the days that are archived")
    parser.add_argument("--archive-days", type=int, default=90, help="days that are archived")
    parser.add_argument(
        "--usages", type=int, default=1_000_000, help="usages of COUNTER's month; 10000000 is full size"
    )
    parser.add_argument("--titles", type=int, default=100_000, help="titles of the COUNTER report")
    parser.add_argument("--stretches", type=int, default=1_000_000, help="stretches of videos of plays")
    parser.add_argument("--dashboard-events", type=int, default=1_000_000, help="events that the dashboard shows")
    parser.add_argument("--heap", default="2g", help="heap of Elasticsearch")
    wanted = parser.parse_args()
    which = wanted.which or _ALL
    report: dict[str, Any] = {"version": __version__, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "host": host.facts()}
    if "intake" in which:
        process.after_start()  # as in a worker: the garbage collector stays out of the way
        report["intake"] = intake.bench(events=100_000, runs=3)
    if "abuse" in which:
        process.after_start()
        with tempfile.TemporaryDirectory(prefix="bench") as folder:
            print(abuse.bench(Path(folder)))
        if which == ["abuse"]:  # its table is all there is
            return
    if "journeys" in which:
        report["journeys"] = journeys.bench(events=wanted.journeys_events, runs=min(wanted.runs, 3))
    # Of short name: Elasticsearch's and SQLite's paths are below it.
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        if "streams" in which:
            report["streams"] = streams.bench(Path(folder), runs=wanted.runs, beside=wanted.beside)
        if "video" in which:
            report["video"] = video.bench(Path(folder), runs=min(wanted.runs, 3))
        if {"ingest", "single", "tock", "plays", "parts", "archive", "persons", "counter", "dashboard"} & set(which):
            _with_elasticsearch(report, which, wanted, Path(folder))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    path = results / "latest.json"
    if path.exists():  # what wasn't named keeps its figures
        report = {**json.loads(path.read_text()), **report}
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))
    print(f"\nAs JSON: {path.relative_to(Path.cwd())}")


def _with_elasticsearch(report: dict[str, Any], which: list[str], wanted: argparse.Namespace, folder: Path) -> None:
    with host.running(folder, wanted.heap) as running:
        if "ingest" in which:
            report["ingest"] = ingest.bench(running, events=wanted.events, runs=wanted.runs, beside=wanted.beside)
        if "single" in which:
            report["single"] = single.bench(running, posts=8000, runs=wanted.runs)
        if "tock" in which:
            report["tock"] = tock.bench(running, events=wanted.tock_events, questions=1000)
        if "plays" in which:
            report["plays"] = plays.bench(running, stretches=wanted.stretches, runs=min(wanted.runs, 3))
        if "parts" in which:
            report["parts"] = parts.bench(running, events=wanted.parts_events, runs=min(wanted.runs, 3))
        if "persons" in which:
            sizes = {"events": wanted.persons_events, "fresh": wanted.fresh_events}
            report["persons"] = persons.bench(running, **sizes, runs=wanted.runs)
        if "counter" in which:
            report["counted"] = counted.bench(running, posts=4000, runs=min(wanted.runs, 3))
            report["months"] = months.bench(running, usages=wanted.usages)
            report["sushi"] = sushi.bench(running, titles=wanted.titles, runs=min(wanted.runs, 3))
        if "dashboard" in which:
            events = wanted.dashboard_events
            if found := dashboard.bench(running, events=events, runs=min(wanted.runs, 3)):
                report["dashboard"] = found
        if "archive" in which:
            report["archive"] = archive.bench(running, events=wanted.archive_events, days=wanted.archive_days)


def table(report: dict[str, Any]) -> str:
    """The report as the Markdown table that the documents show."""
    rows = [("what", "Metronome", "instead", "ratio or difference")]
    if found := report.get("ingest"):
        rows += [
            (
                "indexed events/s, NDJSON of 500",
                _spread(found["gateway"]),
                f"`_bulk`, same ids: {_spread(found['raw'])}",
                f"{found['ratio']:.2f}",
            ),
            ("", "", f"`_bulk`, automatic ids: {_spread(found['raw_auto_id'])}", f"{found['ratio_auto_id']:.2f}"),
            ("gateway's processor time an event", _cost(found, ""), "", ""),
        ]
        if ratio := found.get("cpu_ratio_beside"):
            rows.append(("the same beside another version", _cost(found, ""), _cost(found, "beside_"), f"{ratio:.2f}"))
    if found := report.get("intake"):
        text = f"{found['referers_3000']} yardsticks with 3,000 referers, {found['referers_300000']} with 300,000"
        rows.append(("intake alone, an event", text, "", f"{found['ratio']:.2f}"))
    for name, found in (report.get("single") or {}).items():
        if name.startswith("connections_"):
            text = f"{found['posts_per_s']:,}/s, p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms"
            rows.append((f"single posts, fsynced, {name[12:]} connections", text, "", ""))
    if found := report.get("tock"):
        for name, text in (("items", "tock of random items"), ("repeated", "tock of one item, repeated")):
            here, raw = found[name]["tock"], found[name]["raw"]
            rows.append(
                (
                    text,
                    _latency(here),
                    f"`_search`: {_latency(raw)}",
                    f"p50 {found[name]['p50_over_ms']:+.2f} ms, p99 × {found[name]['p99_ratio']}",
                )
            )
    if found := report.get("streams"):
        rows += _of_streams(found)
    if found := report.get("video"):
        idle = f"{found['idle']:,} idle players"
        p99 = f"p99 {found['tick_p99_beside_ms']} ms"
        rows += [
            ("messages of players on disk, a second of a core", f"{found['durable_messages_per_core_s']:,}", "", ""),
            ("memory of an idle player", f"{found['idle_socket_bytes']:,} bytes", "", ""),
            (f"single posts, beside {idle}", p99, f"without them: {found['tick_p99_ms']} ms", str(found["p99_ratio"])),
            *_of_full(found),
        ]
    if found := report.get("plays"):
        asked = f"plays by day over {found['stretches']:,} stretches"
        rows.append((asked, f"{found['plays_s']} s", f"the aggregation: {found['raw_s']} s", str(found["ratio"])))
    if found := report.get("parts"):
        rows += [
            (
                "building a day's part, events/s",
                f"{found['build_per_s']:,}",
                f"reading the day with PIT: {found['read_per_s']:,}",
                f"{found['ratio']:.2f}",
            ),
            (
                "a day's part, bytes",
                f"{found['part_bytes']:,}",
                "the same as ndjson.gz; in the index",
                f"{found['of_ndjson_gz']:.2f}; {found['of_store']:.2f}",
            ),
            ("memory of a build", f"{found['memory_mb']} MB", "", ""),
        ]
    if found := report.get("counted"):
        for kind, text in (("single", "posts one by one"), ("batches", f"ticks in batches of {counted.BATCH}")):
            usage, tick = found[f"usage_{kind}"], found[f"tick_{kind}"]
            rows.append(
                (f"a counted usage, {text}", f"{usage} yardsticks", f"a tick: {tick}", f"{found[f'{kind}_ratio']:.2f}")
            )
    if found := report.get("months"):
        text = f"{found['usages_per_s']:,} usages/s, {found['usages_per_cpu_s']:,} a second of a core"
        rows += [
            (f"COUNTER, a month of {found['usages']:,} usages to all facts", text, "", ""),
            ("memory of that", f"{found['memory_mb']} MB", "", ""),
        ]
    if found := report.get("sushi"):
        asked = f"Title Report of {found['titles']:,} titles × {found['months']} months"
        rows += [
            (asked, f"JSON {found['json_s']} s, TSV {found['tsv_s']} s", "", ""),
            ("memory of that", f"{found['memory_mb']} MB", "", ""),
        ]
    if found := report.get("archive"):
        rows += _of_archive(found)
    if found := report.get("dashboard"):
        rows += _of_dashboard(found)
    if found := report.get("journeys"):
        rows += [(f"{pair}, {found['events']:,} events", "", "", str(ratio)) for pair, ratio in found["ratios"].items()]
        memory = f"{found['memory_mb']['funnel']} MB; the whole process {found['memory_mb']['process']} MB"
        rows.append((f"memory of a funnel, {found['events']:,} events", memory, "", ""))
    if found := report.get("persons"):
        rows += _of_persons(found)
    return "\n".join(
        "| " + " | ".join(row) + " |" + ("\n| --- | --- | --- | --- |" if row is rows[0] else "") for row in rows
    )


def _of_full(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    full, players = found["full"], f"{found['idle']:,} idle and {found['full']['active']} playing players"
    alone = f"without them: {full['alone_per_s']:,}"
    here = f"{full['beside_per_s']:,}, and {full['messages_per_s']:,} messages/s of players"
    return [(f"events/s taken, beside {players}", here, alone, str(full["ratio"]))]


def _of_dashboard(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    first = f"{found['first_paint_s']} s, {found['bytes']:,} bytes in all"
    asked = f"a program that asks the same: {found['asked_s']} s"
    return [
        ("the dashboard's first paint", first, "", ""),
        (
            f"{found['panels']} panels over {found['events']:,} events",
            f"{found['warm_s']} s",
            asked,
            str(found["ratio"]),
        ),
        ("the same by a fresh browser; by the first of all", f"{found['fresh_s']} s; {found['cold_s']} s", "", ""),
    ]


def _of_archive(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    rows = [
        (
            "archive run, events/s",
            f"{found['run_per_s']:,}",
            f"building: {found['build_per_s']:,}",
            f"{found['run_of_build']}",
        ),
        (
            "restore, events/s",
            f"{found['restore_per_s']:,}",
            f"`_bulk`: {found['bulk_per_s']:,}",
            f"{found['restore_of_bulk']}",
        ),
    ]
    for name in ("first", "repeated"):
        here, indexed = found["tock_ms"][name], found["indexed_tock_ms"][name]
        text = f"tock of {found['days']} archived days, {name}"
        rows.append((text, f"{here} ms", f"over indices: {indexed} ms", f"{found[f'{name}_ratio']}"))
    return rows


def _of_persons(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    unique, trend = found["q6"], found["q9"]
    return [
        (
            f"exact persons by day over 90 days, {found['events']:,} events",
            f"{unique['ours_s']} s",
            f"Elasticsearch's estimate: {unique['theirs_s']} s",
            str(unique["ratio"]),
        ),
        (f"the first question after {found['fresh']:,} new events", f"{found['q7_s']} s", "", ""),
        (
            "a trend of one event by day",
            f"p50 {trend['ours_ms']} ms",
            f"`_search`: p50 {trend['raw_ms']} ms",
            f"{trend['over_ms']:+.2f} ms",
        ),
    ]


def _of_streams(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    ticks, slow, streams = found["ticks"], found["slow"], found["streams"]
    rows = []
    for name, text in (
        ("batches", "HTTP and intake, an event of a batch"),
        ("single", "HTTP and intake, a single event"),
    ):
        other = f"{ticks[f'beside_{name}']} yardsticks" if f"beside_{name}" in ticks else ""
        ratio = str(ticks.get(f"{name}_ratio", ""))
        rows.append((text, f"{ticks[name]} yardsticks", other, ratio))
    text = f"a single event, beside {streams['idle']:,} idle websockets"
    alone = f"without them: {streams['tick_alone']} yardsticks"
    rows.append((text, f"{streams['tick_beside_idle']} yardsticks", alone, str(streams["tick_ratio"])))
    text = f"single posts, beside {slow['slow']} slow clients"
    here = f"p50 {slow['slow_p50_ms']} ms, p99 {slow['slow_p99_ms']} ms"
    rows.append(
        (text, here, f"without them: p50 {slow['p50_ms']} ms, p99 {slow['p99_ms']} ms", f"p99 × {slow['p99_ratio']}")
    )
    messages = f"{streams['echo_per_core_s']:,}/s echoed, {streams['durable_per_core_s']:,}/s fsynced"
    rows.append(("websocket messages of a core", messages, "", ""))
    rows.append(("memory of an idle websocket", f"{streams['idle_socket_bytes'] / 1024:.1f} KB", "", ""))
    return rows


def _cost(found: dict[str, Any], version: str) -> str:
    microseconds, yardsticks = found[f"{version}cpu_us"]["median"], found[f"{version}yardsticks"]["median"]
    return f"{yardsticks:.1f} yardsticks, {microseconds:.1f} µs"


def _spread(figure: dict[str, float]) -> str:
    return f"{figure['median']:,.0f} ({figure['low']:,.0f}–{figure['high']:,.0f})"


def _latency(figure: dict[str, float]) -> str:
    return f"p50 {figure['p50_ms']} ms, p99 {figure['p99_ms']} ms"


if __name__ == "__main__":
    main()
