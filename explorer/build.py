"""Makes the explorer: one HTML file from the page, its style, its scripts, the table of rates and that of corrected gains.

``python explorer/build.py [FILE]`` writes ``explorer.html``; with ``--site`` it links to the pages of the site beside it.
Scripts are modules; here they become one, in the order in which they need each other.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
IMPORT = re.compile(r'^import (?:\{[^}]*\}|(?P<table>\w+)) from "(?P<file>[^"]+)";\n', flags=re.MULTILINE)


def script(path: Path, done: set[Path]) -> str:
    """What a module imports, then the module; nothing that is done already."""
    if path in done:
        return ""
    done.add(path)
    source = path.read_text(encoding="utf-8")
    needed = []
    for found in IMPORT.finditer(source):
        file = (path.parent / found["file"]).resolve()
        needed.append(table(found["table"], file, done) if found["table"] else script(file, done))
    return "".join(needed) + re.sub(r"^export ", "", IMPORT.sub("", source), flags=re.MULTILINE)


def table(name: str, path: Path, done: set[Path]) -> str:
    if path in done:
        return ""
    done.add(path)
    text = path.read_text(encoding="utf-8").strip()
    return f"const {name} = {rows(text) if path.suffix == '.csv' else text};\n"


def rows(text: str) -> str:
    """The rows of a CSV file as objects of JavaScript: numbers, and text of everything else."""
    names, *lines = (line.split(",") for line in text.splitlines())
    numbers = {"inf": "Infinity", "nan": "NaN"}
    values = [[numbers.get(value, value if value[0].isdigit() else json.dumps(value)) for value in line] for line in lines]
    listed = ",".join(f"[{','.join(line)}]" for line in values)
    return f"[{listed}].map((row) => Object.fromEntries({json.dumps(names)}.map((name, i) => [name, row[i]])))"


MORE = re.compile(r'<span class="more">.*?</span>', flags=re.DOTALL)


def without_links(more: re.Match[str]) -> str:
    """Names of functions and notebooks without their links; nothing of what is only a link."""
    return re.sub(r"</?a\b[^>]*>", "", more[0]) if "vf." in more[0] else ""


def page(*, site: bool = False) -> str:
    """The whole page."""
    style = (HERE / "style.css").read_text(encoding="utf-8")
    html = (HERE / "page.html").read_text(encoding="utf-8")
    html = html if site else MORE.sub(without_links, html)
    return html.replace("/*STYLE*/", style).replace("/*SCRIPT*/", script(HERE / "js" / "main.js", set()))


def main() -> None:
    files = [argument for argument in sys.argv[1:] if argument != "--site"]
    target = Path(files[0] if files else "explorer.html")
    target.write_text(page(site="--site" in sys.argv), encoding="utf-8")
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
