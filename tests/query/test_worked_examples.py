"""The examples of docs/query.md are run as they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path

from conftest import Gateway

PAGE = (Path(__file__).parent.parent.parent / "docs/query.md").read_text()


def test_the_examples_of_the_page_on_questions_give_what_it_says(gateway: Gateway) -> None:
    blocks = re.findall(r"```json (\w+) ?(\w*)\n(.*?)```", PAGE, re.DOTALL)
    assert [name for name, _, _ in blocks] == ["events", *["ask", "result"] * 6, "ask", "error"]
    (_, _, events), *examples = blocks
    gateway.accepted(json.loads(events))
    gateway.drain()
    for (_, kind, question), (expects, _, expected) in zip(examples[::2], examples[1::2], strict=True):
        answered = gateway.http.post(f"/query/{kind}", json=json.loads(question)).json
        assert answered[expects] == json.loads(expected)
