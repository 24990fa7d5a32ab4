"""Checks the accessibility of a built site with axe-core: WCAG 2.2, levels A and AA, in both colour schemes and on a phone.

``python docs/site/axe.py FOLDER AXE [PAGE...]`` opens each page of the site in headless Chromium, with the script ``AXE``
(``axe.min.js`` of the npm package axe-core), and prints what is wrong; exit code 1 if anything is.
"""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome", "chrome")
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
VIEWS = {  # window, and whether its reader prefers dark colours
    "light": ("1440,900", False),
    "dark": ("1440,900", True),
    "phone": ("390,9000", False),  # as high as a page: what a bar at its end covers on a phone, scrolling frees
}
EXPLORED = ["", "#neuron=memory&gain=3&pinned=theta%3D0.8"]  # settings of the explorer
RUN = """<script>AXE</script><script>addEventListener("load", () => setTimeout(async () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const { violations } = await axe.run(document, { runOnly: LEVELS });
  const answer = document.body.appendChild(document.createElement("pre"));
  answer.id = "axe-answer";
  answer.textContent = JSON.stringify(violations.map((rule) => [rule.id, rule.nodes.map((node) => node.html.slice(0, 150))]));
}, 3000));</script></body>"""


def violations(page: Path, fragment: str, script: str, folder: Path, view: str) -> list[tuple[str, list[str]]]:
    """Rules that a page breaks, each with the elements that do."""
    window, dark = VIEWS[view]
    text = page.read_text(encoding="utf-8").replace("<head>", f'<head><base href="{page.as_uri()}">', 1)
    run = RUN.replace("LEVELS", json.dumps(LEVELS)).replace("AXE", script.replace("</script", "<\\/script"))
    (folder / "page.html").write_text(text.replace("</body>", run), encoding="utf-8")
    browser = next(found for name in BROWSERS if (found := shutil.which(name)))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={window}"]
    options += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=60000", "--dump-dom"]
    address = (folder / "page.html").as_uri() + fragment
    command = [browser, *options, f"--user-data-dir={folder / 'profile'}", address]
    document = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    answer = re.search(r'<pre id="axe-answer"[^>]*>(.*?)</pre>', document, flags=re.S)
    if answer is None:
        raise RuntimeError(f"{page}: axe did not finish")
    return json.loads(html.unescape(answer[1]))


def forwards(page: Path) -> bool:
    """True for a page that only names another one, at which the reader arrives."""
    return 'http-equiv="refresh"' in page.read_text(encoding="utf-8")


def main() -> int:
    site, script, *names = sys.argv[1:]
    pages = [Path(site) / name for name in names] or [
        path for path in sorted(Path(site).rglob("*.html")) if "_static" not in path.parts and not forwards(path)
    ]
    looks = [
        (page, each, view) for page in pages for each in (EXPLORED if page.name == "explorer.html" else [""]) for view in VIEWS
    ]
    source = Path(script).read_text("utf-8")

    def look(page: Path, fragment: str, view: str) -> int:
        with tempfile.TemporaryDirectory() as folder:
            broken = violations(page.resolve(), fragment, source, Path(folder), view)
        for rule, elements in broken:
            print(f"{page}{fragment} ({view}): {rule}, {len(elements)} times, first {elements[0]}", flush=True)
        return sum(len(elements) for _, elements in broken)

    with ThreadPoolExecutor(os.cpu_count()) as browsers:
        faults = sum(browsers.map(lambda each: look(*each), looks))
    print(f"{len(pages)} pages, {faults} violations")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
