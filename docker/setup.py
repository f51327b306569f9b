"""What a new Elasticsearch needs once: Kibana's password, and a user for the gateway that can do no more than it must.

Run by the service `setup` of compose.yaml, in Metronome's image. Doing it again changes nothing, except passwords to
what the environment says.
"""

import base64
import json
import os
import urllib.error
import urllib.request

from metronome.settings import Settings
from metronome.store.role import role

URL = os.environ["ELASTICSEARCH_URL"]
PREFIX = os.environ.get("METRONOME_INDEX_PREFIX") or "logstash"


def put(path: str, body: object) -> None:
    """Send it as the user elastic; ends the program with Elasticsearch's own words if it is refused."""
    login = base64.b64encode(f"elastic:{os.environ['ELASTIC_PASSWORD']}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{URL}/{path}", json.dumps(body).encode(), headers, method="PUT")  # noqa: S310
    try:
        urllib.request.urlopen(request, timeout=60).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        raise SystemExit(f"setup: PUT {path}: {error.code} {error.read().decode(errors='replace')}") from None
    print(f"setup: {path} is set", flush=True)


if __name__ == "__main__":
    put("_security/user/kibana_system/_password", {"password": os.environ["KIBANA_PASSWORD"]})
    put("_security/role/metronome", role(Settings(index_prefix=PREFIX)))
    put("_security/user/metronome", {"password": os.environ["ELASTICSEARCH_PASSWORD"], "roles": ["metronome"]})
    os.execvp("metronome", ["metronome", "mappings", "--install"])  # noqa: S606, S607
