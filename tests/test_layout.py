"""Sizes at which a design is asking for something; a stated reason changes a figure."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "metronome").rglob("*.py"))

MAX_FILE = 400
MAX_FUNCTION = 60


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_and_no_function_has_outgrown_its_design(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno}
    assert {name: lines for name, lines in long.items() if lines > MAX_FUNCTION} == {}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


#: What `intake.accept` believes of events without a look: only what read their bytes can know it.
BELIEVED = ("flat", "addresses")


def test_only_what_wire_has_read_is_believed_of_events() -> None:
    said = [
        f"{module.name}: {keyword.arg}={ast.unparse(keyword.value)}"
        for module in MODULES
        if module.parent != ROOT / "metronome" / "intake"
        for call in ast.walk(ast.parse(module.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "accept"
        for keyword in call.keywords
        if keyword.arg in BELIEVED
    ]
    assert sorted(said) == ["post.py: addresses=posted.addresses", "post.py: flat=posted.flat"]
