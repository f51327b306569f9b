"""What a visitor did before and after signing up is one person's: two dialects in, a funnel out."""

from __future__ import annotations

import json
from urllib.parse import quote

from conftest import Gateway, wait_for


def said(gateway: Gateway, route: str, **body: object) -> str:
    answer = gateway.http.get(f"/v1/{route}?q={quote(json.dumps(body))}")
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_a_visitor_who_signs_up_is_one_person_in_a_funnel_over_two_dialects(gateway: Gateway) -> None:
    said(gateway, "events", sessionId="anon-1", events=[{"name": "view"}])
    said(gateway, "events", sessionId="anon-2", events=[{"name": "view"}])
    said(gateway, "setUserId", sessionId="anon-1", userId="ann")
    gateway.accepted({"event": "buy", "distinct_id": "ann"})
    gateway.drain()
    funnel = {"steps": [{"event": "view"}, {"event": "buy"}]}

    def counts() -> list[int]:
        answer = gateway.http.post("/query/funnel", json=funnel)
        assert answer.status_code == 200, answer.text
        return [step["count"] for step in answer.json["result"]["steps"]]

    wait_for(lambda: counts() == [2, 1], "the sign-up to be known")
