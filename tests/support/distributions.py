"""Small Python distributions, installed into a folder."""

import json
from collections.abc import Mapping
from pathlib import Path


def install(
    folder: Path, name: str, version: str, modules: Mapping[str, str], *, from_url: str = "", editable: bool = False
) -> Path:
    """Install a distribution with modules (text by path); returns its metadata folder."""
    for path, text in modules.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in modules), encoding="utf-8")
    if from_url:
        given = {"url": from_url, "dir_info": {"editable": editable}}
        (info / "direct_url.json").write_text(json.dumps(given), encoding="utf-8")
    return info
