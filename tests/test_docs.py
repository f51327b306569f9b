"""Documents are product: what they say is read from the code, and what they show runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway, Server
from openapi_spec_validator import validate

from metronome import reference
from metronome.cli import main
from metronome.settings import Settings
from metronome.settings_table import markdown as settings_as_markdown
from metronome.settings_table import table
from metronome.store import indices

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "DESIGN.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_setting_is_in_the_documents_with_default_range_and_meaning() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    assert settings_as_markdown() in page
    assert {row.variable for row in table()} == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def test_every_command_is_in_the_documents_as_its_help_says() -> None:
    assert reference.commands() in (ROOT / "docs/commands.md").read_text()
    assert {f"## metronome {name}" for name in main.commands} <= set(reference.commands().splitlines())


def test_every_route_is_in_the_description_and_in_the_documents(gateway: Gateway) -> None:
    served = {rule.rule for rule in gateway.app.url_map.iter_rules()}
    described = set(reference.description()["paths"])
    # The files of pages are no interface. One rule answers for the kinds of questions that there are not.
    others = ("/try", "/dashboard/", "/openapi.json", "/query/<")
    own = {re.sub("<item:item>|<id>", "{id}", rule) for rule in served if not rule.startswith(others)}
    own = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule) for rule in own}
    own.discard("/")
    assert own == {path.removesuffix(".json") if "{id}" in path else path for path in described}
    assert reference.routes() in (ROOT / "docs/http.md").read_text()


def test_every_named_field_is_in_the_documents() -> None:
    assert reference.fields_table() in (ROOT / "docs/http.md").read_text()


def test_every_limit_is_in_the_documents() -> None:
    assert reference.limits_table() in (ROOT / "docs/keys.md").read_text()


def test_the_description_is_valid_openapi(gateway: Gateway) -> None:
    served = gateway.http.get("/openapi.json").json
    validate(served)
    assert served["components"]["schemas"]["Error"]["properties"]["error"] is not None


def test_the_page_to_try_it_is_served_from_here_alone(gateway: Gateway) -> None:
    page = gateway.http.get("/try/")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    def found(link: str) -> bool:
        with gateway.http.get(link) as response:  # it streams a file, which must be closed
            return response.status_code == 200

    assert linked and not [link for link in linked if "//" in link]
    assert [link for link in linked if not found(link)] == []


def test_mappings_are_what_the_models_say(tmp_path: Path) -> None:
    written = indices.write_files(tmp_path, Settings())
    kept = {path.name: path.read_text() for path in (ROOT / "mappings").iterdir()}
    assert kept == {path.name: path.read_text() for path in written}


def test_mappings_install_by_hand(gateway: Gateway) -> None:
    body = json.loads((ROOT / "mappings/metronome-logstash.json").read_text())
    name = f"by-hand-{gateway.settings.index_prefix}"
    body["index_patterns"] = [f"{name}-*"]
    gateway.elasticsearch.perform_request(
        "PUT",
        f"/_index_template/{name}",
        headers={"content-type": "application/json", "accept": "application/json"},
        body=body,
    )
    gateway.elasticsearch.indices.delete_index_template(name=name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_variable_is_named_that_there_is_not(page: Path) -> None:
    known = {row[0] for row in table()} | {
        "METRONOME_TEST_ENGINE",
        "METRONOME_SCREENSHOTS",
        "METRONOME_SERVICE_HOST",
        "METRONOME_PORT",
    }
    named = set(re.findall(r"\bMETRONOME_[A-Z_]+[A-Z]\b", page.read_text()))
    assert named - known == set()


def test_the_first_tick_and_tock_of_the_readme_run_as_they_stand(server: Server) -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme[readme.index("## The first tick and tock") : readme.index("A page of your site")]
    script = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    script = script.replace("http://127.0.0.1:8000", server.url).replace("home", "readme-home")
    # Two seconds are what the README promises; the tock is asked until it says so or they have passed.
    post, _, ask = script.rpartition("curl ")
    expected = {"views": 2, "downloads": {"csv": 1}, "referers": {"arcgis.com/maps": 1}}
    run = subprocess.run(
        ["bash", "-euc", f"{post}\nfor i in $(seq 40); do curl -s {ask.split('#')[0]}; echo; sleep 0.1; done"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    answers = [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"views"')]
    found: dict[str, Any] = answers[-1]
    assert {**found, "views": sum(found["views"].values())} == expected


def test_help_needs_no_settings_and_no_engine() -> None:
    environ = {**os.environ, "METRONOME_WORKERS": "not a number"}
    for arguments in (["--help"], ["up", "--help"], ["settings"], ["quarantine", "replay", "--help"]):
        run = subprocess.run(
            [sys.executable, "-m", "metronome", *arguments], env=environ, capture_output=True, text=True
        )
        assert (run.returncode, run.stderr) == (0, "")


#: Largest picture of the documents, in bytes.
MOST_PICTURE = 150_000


def test_each_picture_is_small_and_said_in_words() -> None:
    shown = {
        (page.parent / source).resolve(): text
        for page in PAGES
        for text, source in re.findall(r"!\[([^]]*)\]\(([^)]+)\)", page.read_text())
    }
    pictures = set((ROOT / "docs/images").glob("*.png"))
    assert pictures and pictures <= set(shown)
    assert [picture.name for picture, text in shown.items() if len(text) < 40] == []
    assert [picture.name for picture in pictures if picture.stat().st_size > MOST_PICTURE] == []
