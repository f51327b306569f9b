"""The examples of docs/query.md are run as they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path

from conftest import Gateway

PAGE = (Path(__file__).parent.parent.parent / "docs/query.md").read_text()


def test_the_examples_of_the_page_on_questions_give_what_it_says(gateway: Gateway) -> None:
    blocks = re.findall(r"```json (\w+) ?(\w*)\n(.*?)```", PAGE, re.DOTALL)
    answered = ["ask", "result"]
    assert [name for name, _, _ in blocks] == ["events", *answered * 6, "events", *answered * 3, "ask", "error"]
    answer = None
    for name, kind, text in blocks:
        if name == "events":
            gateway.accepted(json.loads(text))
            gateway.drain()
            gateway.app.extensions["people"].refresh()
        elif name == "ask":
            answer = gateway.http.post(f"/query/{kind}", json=json.loads(text)).json
        else:
            assert answer is not None
            assert answer[name] == json.loads(text)
