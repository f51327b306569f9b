"""Every setting has a type, a range, and a message that names it, what it got and what it takes."""

from __future__ import annotations

import ast
import ipaddress
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from metronome import kinds
from metronome.errors import SetupError
from metronome.kinds import masked, show_size
from metronome.node.download import RELEASES
from metronome.settings import Settings, environment
from metronome.settings_table import table

ROOT = Path(__file__).parent.parent

MB, GB = 2**20, 2**30


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        pytest.param("METRONOME_BIND", "0.0.0.0:80", "bind", "0.0.0.0:80", id="all addresses"),
        pytest.param("METRONOME_BIND", ":8000", "bind", ":8000", id="no address is all of them"),
        pytest.param("METRONOME_BIND", "[::1]:8000", "bind", "[::1]:8000", id="IPv6 in brackets"),
        pytest.param("METRONOME_BIND", "ticks.local:8000", "bind", "ticks.local:8000", id="a name"),
        pytest.param("METRONOME_HOSTS", "Ticks.example.org, 192.0.2.1", "hosts", ("ticks.example.org", "192.0.2.1"), id="hosts"),
        pytest.param("METRONOME_URL", "https://ticks.example.org/", "url", "https://ticks.example.org", id="a URL loses its last slash"),
        pytest.param("METRONOME_URL", "http://[::1]:8000/under/a/path", "url", "http://[::1]:8000/under/a/path", id="a URL with a path"),
        pytest.param("METRONOME_LOG_LEVEL", "WARNING", "log_level", "warning", id="a choice in any case"),
        pytest.param("ELASTICSEARCH_URL", "https://a:9200, https://u:p@b:9200", "elasticsearch_url", "https://a:9200,https://u:p@b:9200", id="several nodes"),
        pytest.param("ELASTICSEARCH_PASSWORD", " a b ", "elasticsearch_password", " a b ", id="a password keeps its blanks"),
        pytest.param("METRONOME_INDEX_PREFIX", "usage-2_x.y", "index_prefix", "usage-2_x.y", id="a prefix"),
        pytest.param("METRONOME_INDEX_PREFIX", "événements", "index_prefix", "événements", id="a prefix in French"),
        pytest.param("METRONOME_WORKERS", " 4 ", "workers", 4, id="a number with blanks around it"),
        pytest.param("METRONOME_MAX_BODY_BYTES", "20m", "max_body_bytes", 20 * MB, id="a size in megabytes"),
        pytest.param("METRONOME_MAX_BODY_BYTES", "1048576", "max_body_bytes", MB, id="a size in bytes"),
        pytest.param("METRONOME_SPOOL_MAX_BYTES", "2G", "spool_max_bytes", 2 * GB, id="a size with a large unit"),
        pytest.param("METRONOME_NODE_HEAP", "4G", "node_heap", "4g", id="a heap"),
        pytest.param("METRONOME_NODE_PORT", "9203", "node_port", "9203", id="a port"),
        pytest.param("METRONOME_NODE_PORT", "9200-9200", "node_port", "9200-9200", id="a range of one port"),
        pytest.param("METRONOME_RATE_LIMIT", "100/second", "rate_limit", "100/second", id="a rate"),
        pytest.param("METRONOME_RATE_LIMIT", "5000 per 10 minutes", "rate_limit", "5000 per 10 minutes", id="a rate in words"),
        pytest.param("METRONOME_HOME", "/var/lib/metronome", "home", Path("/var/lib/metronome"), id="a folder"),
        pytest.param("METRONOME_WORKERS", "", "workers", 2, id="an empty variable is the default"),
    ],
)  # fmt: skip
def test_a_setting_is_read(variable: str, text: str, name: str, value: Any) -> None:
    assert getattr(Settings.from_env({variable: text}), name) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("METRONOME_BIND", "8000"),
        ("METRONOME_BIND", "127.0.0.1"),
        ("METRONOME_BIND", "127.0.0.1:0"),
        ("METRONOME_BIND", "127.0.0.1:65536"),
        ("METRONOME_BIND", "127.0.0.256:8000"),
        ("METRONOME_BIND", "::1:8000"),
        ("METRONOME_BIND", "a b:8000"),
        ("METRONOME_HOSTS", "https://ticks.example.org"),
        ("METRONOME_HOSTS", "ticks.example.org:8000"),
        ("METRONOME_HOSTS", "a,,b"),
        ("METRONOME_HOSTS", "*"),
        ("METRONOME_URL", "127.0.0.1:8000"),
        ("METRONOME_URL", "ftp://a"),
        ("METRONOME_URL", "http://a:port"),
        ("METRONOME_URL", "http://a/?x=1"),
        ("METRONOME_LOG_LEVEL", "verbose"),
        ("ELASTICSEARCH_URL", "es:9200"),
        ("ELASTICSEARCH_URL", "http://a:9200,"),
        ("ELASTICSEARCH_URL", "http://a:99999"),
        ("METRONOME_INDEX_PREFIX", "Usage"),
        ("METRONOME_INDEX_PREFIX", "_usage"),
        ("METRONOME_INDEX_PREFIX", "-usage"),
        ("METRONOME_INDEX_PREFIX", "+usage"),
        ("METRONOME_INDEX_PREFIX", ".usage"),
        ("METRONOME_INDEX_PREFIX", "us*ge"),
        ("METRONOME_INDEX_PREFIX", "a,b"),
        ("METRONOME_INDEX_PREFIX", "a b"),
        ("METRONOME_INDEX_PREFIX", "a:b"),
        ("METRONOME_INDEX_PREFIX", "x" * 245),
        ("METRONOME_INDEX_PREFIX", "metronome"),
        ("METRONOME_INDEX_PREFIX", "metronome-keys"),
        ("METRONOME_SHARDS", "0"),
        ("METRONOME_SHARDS", "1025"),
        ("METRONOME_REFRESH_S", "0"),
        ("METRONOME_NODE_VERSION", "7.17.0"),
        ("METRONOME_NODE_HEAP", "plenty"),
        ("METRONOME_NODE_HEAP", "1k"),
        ("METRONOME_NODE_HEAP", "64m"),
        ("METRONOME_NODE_PORT", "0"),
        ("METRONOME_NODE_PORT", "9300-9200"),
        ("METRONOME_NODE_PORT", "9200-"),
        ("METRONOME_NODE_PORT", "9200-70000"),
        ("METRONOME_WORKERS", "0"),
        ("METRONOME_WORKERS", "two"),
        ("METRONOME_WORKERS", "1_0"),
        ("METRONOME_WORKERS", "٣"),
        ("METRONOME_THREADS", "0"),
        ("METRONOME_RATE_LIMIT", "lots"),
        ("METRONOME_RATE_LIMIT", "0/second"),
        ("METRONOME_RATE_LIMIT", "10/fortnight"),
        ("METRONOME_RATE_LIMIT", "10/0 seconds"),
        ("METRONOME_MAX_BODY_BYTES", "-1"),
        ("METRONOME_MAX_BODY_BYTES", "10x"),
        ("METRONOME_MAX_BODY_BYTES", "m"),
        ("METRONOME_MAX_BODY_BYTES", "2g"),
        ("METRONOME_MAX_BATCH_EVENTS", "-5"),
        ("METRONOME_MAX_EVENT_BYTES", "2m"),
        ("METRONOME_MAX_PROPERTIES", "0"),
        ("METRONOME_MAX_DEPTH", "0"),
        ("METRONOME_MAX_KEY_LENGTH", "0"),
        ("METRONOME_SPOOL_MAX_BYTES", "0"),
        ("METRONOME_DRAIN_SENDERS", "0"),
        ("METRONOME_DRAIN_TIMEOUT_S", "0"),
        ("METRONOME_QUERY_TIMEOUT_S", "-1"),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_named_with_what_it_got_and_what_it_takes(variable: str, text: str) -> None:
    takes = next(row.takes for row in table() if row.variable == variable)
    with pytest.raises(SetupError, match=re.escape(f"{variable}: {text[:100]!r} isn't {takes}"[:120])):
        Settings.from_env({variable: text})


def test_every_default_lies_in_its_own_range() -> None:
    outside = []
    for row in fields(Settings):
        kind = row.metadata["kind"]
        if row.default in (MISSING, None, "", ()):
            continue
        if kind.read(kind.show(row.default)) != row.default:
            outside.append(row.name)
    assert outside == []


def test_a_misspelt_variable_is_an_error_but_not_one_of_another_program() -> None:
    with pytest.raises(SetupError, match="METRONOME_WORKER is not a setting of Metronome"):
        Settings.from_env({"METRONOME_WORKER": "3"})
    kubernetes = {"METRONOME_PORT": "tcp://10.0.0.1:80", "METRONOME_SERVICE_HOST": "10.0.0.1"}
    assert Settings.from_env({**kubernetes, "METRONOME_TEST_ENGINE": "node"}) == Settings()


def test_the_versions_of_the_private_node_are_those_that_can_be_fetched() -> None:
    for version in RELEASES:
        assert Settings.from_env({"METRONOME_NODE_VERSION": version}).node_version == version
    assert next(row.takes for row in table() if row.variable == "METRONOME_NODE_VERSION") == " or ".join(RELEASES)


def test_networks_are_read_and_written() -> None:
    networks = kinds.NETWORKS.read("10.0.0.0/8, 192.0.2.7,::1")
    assert networks == tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "192.0.2.7/32", "::1/128")))
    assert kinds.NETWORKS.show(networks) == "10.0.0.0/8,192.0.2.7/32,::1/128"
    for text in ("10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.0/8,,::1"):
        with pytest.raises(ValueError):
            kinds.NETWORKS.read(text)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1000, "1000"), (1024, "1k"), (10 * MB, "10m"), (8 * GB, "8g"), (MB + 1, "1048577")]
)
def test_a_size_is_shown_with_the_largest_unit_that_divides_it(value: int, text: str) -> None:
    assert show_size(value) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("https://me:secret@es:9200", "https://***@es:9200", id="user and password"),
        pytest.param("https://a:9200,https://me:se@cret@b:9200", "https://a:9200,https://***@b:9200", id="an @ in the password"),
        pytest.param("https://es:9200", "https://es:9200", id="neither"),
        pytest.param("me:secret@es:9200", "***@es:9200", id="no scheme"),
        pytest.param("https://[me:secret@es", "https://***@es", id="no URL at all"),
        pytest.param("https://me:se/cret@es:9200", "https://***@es:9200", id="a slash in the password"),
        pytest.param("https://me:se,cret@es:9200", "https://***@es:9200", id="a comma in the password"),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_its_password(text: str, shown: str) -> None:
    assert masked(text) == shown


def settings_command(**environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in environment().items() if not name.startswith(("METRONOME", "ELASTIC"))}
    return subprocess.run(
        [sys.executable, "-m", "metronome", "settings"], env={**kept, **environ}, capture_output=True, text=True
    )


def test_the_command_shows_what_is_in_force_and_what_is_wrong_and_no_secret() -> None:
    run = settings_command(
        ELASTICSEARCH_URL="https://me:hidden@es:9200",
        ELASTICSEARCH_PASSWORD="hidden",
        METRONOME_WORKERS="two",
        METRONOME_MAX_BODY_BYTES="20m",
    )
    lines = run.stdout.splitlines()
    assert (run.returncode, run.stderr) == (0, "")
    assert "hidden" not in run.stdout
    assert {
        "ELASTICSEARCH_URL=https://***@es:9200",
        "ELASTICSEARCH_PASSWORD=(set)",
        "METRONOME_WORKERS=two",
        "    Wrong: METRONOME_WORKERS: 'two' isn't a whole number from 1 to 256",
        "METRONOME_MAX_BODY_BYTES=20m",
        "METRONOME_SPOOL_MAX_BYTES=8g",
    } <= set(lines)


def test_a_secret_that_is_wrong_is_not_told_either() -> None:
    with pytest.raises(SetupError) as told:
        Settings.from_env({"ELASTICSEARCH_URL": "ftp://me:hidden@es:9200"})
    assert "hidden" not in str(told.value)
    assert "'ftp://***@es:9200'" in str(told.value)


def test_a_command_with_a_wrong_setting_ends_with_one_line() -> None:
    environ = {"METRONOME_LOG_LEVEL": "verbose", "PATH": environment()["PATH"]}
    run = subprocess.run(
        [sys.executable, "-m", "metronome", "serve"], env=environ, capture_output=True, text=True, timeout=60
    )
    message = "metronome: METRONOME_LOG_LEVEL: 'verbose' isn't debug, info, warning or error\n"
    assert (run.returncode, run.stderr) == (1, message)


def test_only_settings_reads_the_environment() -> None:
    readers = set()
    for path in (ROOT / "metronome").rglob("*.py"):
        tree = ast.parse(path.read_text())
        # `os.environ`, or `from os import environ`; a request's `environ` is WSGI's and another thing
        names = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
        }
        names |= {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "os"
            for alias in node.names
        }
        if names & {"environ", "environb", "getenv"}:
            readers.add(str(path.relative_to(ROOT)))
    assert readers == {"metronome/settings/row.py"}
