"""docker/: what the compose file and the image promise, read from the files; a Docker engine isn't needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from metronome import __version__
from metronome.settings import Settings

DOCKER = Path(__file__).parent.parent / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
OURS = ("gateway", "drain", "listen", "setup")
PINNED = re.compile(r"[^:@]+:[\w.-]*\d[\w.-]*")

#: env_file with `required: false`.
OLDEST_COMPOSE = (2, 24)


def test_the_stack_has_its_services() -> None:
    assert set(SERVICES) == {"gateway", "drain", "listen", "setup", "elasticsearch", "kibana", "logstash", "minio"}
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "listen": ["listen"],
        "logstash": ["logstash"],
        "minio": ["minio"],
    }


def test_gateway_and_drain_share_the_spool() -> None:
    gateway, drain = SERVICES["gateway"], SERVICES["drain"]
    assert gateway["volumes"] == drain["volumes"] == ["spool:/var/lib/metronome"]
    assert gateway["environment"] == drain["environment"]
    assert gateway["environment"]["METRONOME_HOME"] == "/var/lib/metronome"
    assert (gateway["command"], drain["command"]) == ("serve", "drain")


def test_listen_writes_into_the_same_spool_and_every_port_of_its_is_open() -> None:
    listen = SERVICES["listen"]
    assert (listen["command"], listen["volumes"]) == ("listen", SERVICES["drain"]["volumes"])
    environment = listen["environment"]
    settings = Settings.from_env({name: value for name, value in environment.items() if "${" not in value})
    inside = {settings.forward_bind, settings.lines_bind, settings.lines_udp_bind}
    assert inside == {f"0.0.0.0:{port.partition('/')[0].rpartition(':')[2]}" for port in listen["ports"]}
    # The forward protocol has heartbeats over UDP; JSON comes over both.
    assert sorted(port.rpartition(":")[2] for port in listen["ports"]) == ["24224", "24224/udp", "5170", "5170/udp"]


@pytest.mark.parametrize("name", ["gateway", "drain", "listen"])
def test_ticks_are_taken_without_elasticsearch(name: str) -> None:
    assert "depends_on" not in SERVICES[name]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "cap_add" not in service


@pytest.mark.parametrize("name", OURS)
def test_our_containers_get_settings_that_exist(name: str) -> None:
    environment = SERVICES[name]["environment"]
    settings = Settings.from_env({name: value for name, value in environment.items() if "${" not in value})
    assert str(settings.home) == "/var/lib/metronome"


def test_only_setup_knows_the_superuser() -> None:
    knowing = {name for name, service in SERVICES.items() if "ELASTIC_PASSWORD" in service.get("environment", {})}
    assert knowing == {"elasticsearch", "setup"}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    assert PINNED.fullmatch(SERVICES[name]["image"])


def test_our_image_has_our_version() -> None:
    assert {SERVICES[name]["image"] for name in OURS} == {f"metronome:{__version__}"}
    assert f"-t metronome:{__version__} " in DOCKERFILE


def test_our_image_is_built_once_and_never_pulled() -> None:
    assert [name for name, service in SERVICES.items() if "build" in service] == ["gateway"]
    assert SERVICES["gateway"]["build"] == {"context": "..", "dockerfile": "docker/Dockerfile"}
    assert {SERVICES[name]["pull_policy"] for name in OURS if name != "gateway"} == {"never"}


def test_the_elastic_stack_has_one_version() -> None:
    tags = {SERVICES[name]["image"].rpartition(":")[2] for name in ("elasticsearch", "kibana", "logstash")}
    assert tags == {Settings().node_version}


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "setup"])
def test_services_start_again_and_are_open_to_this_machine_alone(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    for port in service.get("ports", []):
        assert port.startswith("${BIND_ADDRESS:-127.0.0.1}:")


def test_every_variable_has_its_default_in_the_example() -> None:
    text = re.sub(r"(?m)^\s*#.*$", "", (DOCKER / "compose.yaml").read_text())
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    assert len(re.findall(r"\$\{(\w+)", text)) == len(re.findall(r"\$\{(\w+):-", text))
    example = re.findall(r"(?m)^(#?)(\w+)=(.*)$", (DOCKER / ".env.example").read_text())
    assert {name for _, name, _ in example} == set(used)
    assert {name: value for mark, name, value in example if not mark} == {
        name: used[name] for mark, name, _ in example if not mark
    }


def test_the_image_is_pinned_and_not_root() -> None:
    bases = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    arguments = dict(re.findall(r"(?m)^ARG (\w+)=(\S+)", DOCKERFILE))
    assert bases == ["python:${PYTHON}", "python:${PYTHON}"]
    assert PINNED.fullmatch(f"python:{arguments['PYTHON']}")
    assert re.findall(r"(?m)^USER (.*)$", DOCKERFILE) == ["10001:10001"]
    assert "--require-hashes -r requirements/base.txt" in DOCKERFILE


def test_the_build_gets_every_file_it_copies() -> None:
    root = DOCKER.parent
    lines = (root / ".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert {"metronome", "requirements", "setup.cfg", "pyproject.toml", "README.md"} <= let_in
    assert (root / "requirements" / "base.txt").exists()


def healthcheck(name: str, folder: Path) -> int:
    *python, script = SERVICES[name]["healthcheck"]["test"][2:]
    assert f"/var/lib/metronome/spool/{name}.json" in script
    script = script.replace("/var/lib/metronome", str(folder))
    return subprocess.run([sys.executable, *python, script], capture_output=True).returncode


@pytest.mark.parametrize(
    ("age_s", "status"),
    [pytest.param(0, 0, id="fresh"), pytest.param(25, 0, id="slow"), pytest.param(60, 1, id="hanging")],
)
@pytest.mark.parametrize("name", ["drain", "listen"])
def test_a_process_is_healthy_while_it_reports(tmp_path: Path, name: str, age_s: int, status: int) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / f"{name}.json").write_text(json.dumps({"at": time.time() - age_s, "running": True}))
    assert healthcheck(name, tmp_path) == status


@pytest.mark.parametrize("name", ["drain", "listen"])
def test_a_process_that_never_reported_is_not_healthy(tmp_path: Path, name: str) -> None:
    assert healthcheck(name, tmp_path) == 1


class Recorder(BaseHTTPRequestHandler):
    """Stands where Elasticsearch would: notes each request, and answers with the server's `status`."""

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_PUT

    def log_message(self, *values: Any) -> None:
        pass


@pytest.fixture
def security_api() -> Any:
    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        server.requests, server.status = [], 200  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run_setup(server: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    """docker/setup.py, with a `metronome` that only prints what it was asked."""
    (folder / "metronome").write_text('#!/bin/sh\necho "metronome $*"\n')
    (folder / "metronome").chmod(0o755)
    environ = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(DOCKER.parent),
        "ELASTICSEARCH_URL": f"http://127.0.0.1:{server.server_port}",
        "ELASTICSEARCH_PASSWORD": "of-metronome",
        "ELASTIC_PASSWORD": "of-elastic",
        "KIBANA_PASSWORD": "of-kibana",
        "METRONOME_INDEX_PREFIX": "usage",
    }
    return subprocess.run(
        [sys.executable, DOCKER / "setup.py"], env=environ, text=True, capture_output=True, timeout=60
    )


def test_setup_makes_a_user_for_events_and_records_and_nothing_else(security_api: Any, tmp_path: Path) -> None:
    done = run_setup(security_api, tmp_path)
    assert done.returncode == 0, done.stderr
    role = {
        "cluster": ["monitor", "manage_index_templates"],
        "indices": [
            {
                "names": ["usage-*"],
                "privileges": ["auto_configure", "create_doc", "read", "view_index_metadata", "maintenance", "monitor"],
            },
            {
                "names": ["metronome-*-usage"],
                "privileges": ["auto_configure", "write", "read", "view_index_metadata", "maintenance"],
            },
        ],
    }
    assert security_api.requests == [
        ("/_security/user/kibana_system/_password", {"password": "of-kibana"}),
        ("/_security/role/metronome", role),
        ("/_security/user/metronome", {"password": "of-metronome", "roles": ["metronome"]}),
    ]
    assert done.stdout.splitlines()[-1] == "metronome mappings --install"


def test_setup_ends_at_the_first_refusal(security_api: Any, tmp_path: Path) -> None:
    security_api.status = 401
    done = run_setup(security_api, tmp_path)
    assert (done.returncode, len(security_api.requests)) == (1, 1)
    assert "setup: PUT _security/user/kibana_system/_password: 401" in done.stderr


def compose_client() -> list[str]:
    """A Docker Compose that is new enough; skips the test where there is none."""
    found = []
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            told = subprocess.run([*command, "version", "--short"], text=True, capture_output=True)
            numbers = re.match(r"v?(\d+)\.(\d+)", told.stdout)
            if told.returncode == 0 and numbers:
                if (int(numbers[1]), int(numbers[2])) >= OLDEST_COMPOSE:
                    return command
                found.append(told.stdout.strip())
    pytest.skip(
        f"needs Docker Compose {'.'.join(map(str, OLDEST_COMPOSE))} or newer; found {', '.join(found) or 'none'}"
    )


@pytest.mark.parametrize("environment", ["/dev/null", ".env.example"])
def test_docker_compose_takes_the_file(environment: str) -> None:
    command = [*compose_client(), "--env-file", environment, "--profile", "*", "config", "--format", "json"]
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, cwd=DOCKER, env=environ, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(json.loads(done.stdout)["services"]) == set(SERVICES)
