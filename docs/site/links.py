"""Checks a built site: every link leads somewhere, and nothing but a link that a reader follows needs the network.

``python docs/site/links.py FOLDER`` prints what is wrong; exit code 1 if anything is.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """Anchors and links of one page."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str, str]] = []  # tag, attribute, address
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("id", "name"):
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.links.append((tag, name, value))


def faults(folder: Path):
    """What is wrong, one line each."""
    paths = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in paths}
    for path, page in pages.items():
        for tag, attribute, address in page.links:
            parts, where = urlsplit(address), path.relative_to(folder)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                if (tag, attribute) in LOADED:
                    yield f"{where}: loads {address} from the network"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{where}: {address} does not exist"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where}: {address} has no such heading"
    if not pages:
        yield f"{folder} has no pages"


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1]).resolve()))
    print(*found, sep="\n", end="\n" * bool(found))
    sys.exit(bool(found))
