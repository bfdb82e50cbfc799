"""Sections and fenced blocks of a document."""

import re
from pathlib import Path


def section(path: Path, heading: str) -> str:
    """Return the text under a heading, up to the next heading of the same level."""
    text = path.read_text(encoding="utf-8")
    match = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1]


def block(text: str, language: str, number: int = 0) -> str:
    """Return the text of a fenced block of a language: the first, or another by its number."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[number]
