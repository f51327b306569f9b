"""The picture in the README: small, safe to show, readable by day, by night and by ear."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docs/images/architecture.svg"
SVG = "{http://www.w3.org/2000/svg}"


def test_the_readme_shows_the_picture_and_says_it_in_words() -> None:
    (words,) = re.findall(r"!\[([^\]]+)\]\(docs/images/architecture\.svg\)", (ROOT / "README.md").read_text())
    assert len(words.split()) > 15


def test_the_picture_is_small_and_fetches_and_runs_nothing() -> None:
    text = FILE.read_text()
    assert len(text) < 10_000
    assert not re.search(
        r"<script|<image|<foreignObject|href|@import|https?://(?!www\.w3\.org/2000/svg)|\son\w+=", text
    )
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {"#tip-in", "#tip-out"}


def test_the_picture_has_a_title_a_description_and_two_colour_schemes() -> None:
    picture = ElementTree.parse(FILE).getroot()
    assert picture.attrib["role"] == "img"
    told = [picture.find(f"{SVG}{name}") for name in ("title", "desc")]
    assert [one.attrib["id"] for one in told if one is not None] == picture.attrib["aria-labelledby"].split()
    assert all(one is not None and one.text and len(one.text) > 10 for one in told)
    (style,) = (one.text or "" for one in picture.iter(f"{SVG}style"))
    light, dark = re.findall(r":root \{([^}]*)\}", style)
    used = set(re.findall(r"var\(--(\w+)\)", style))
    assert used == set(re.findall(r"--(\w+):", light)) == set(re.findall(r"--(\w+):", dark))
