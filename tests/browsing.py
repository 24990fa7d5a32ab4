"""Chromium without a window: documents after their scripts ran. Where there is none, tests are skipped."""

import html
import json
import re
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome", "chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--timeout=120000", "--dump-dom")


def after_scripts(page, folder, fragment=""):
    """The document of a page, opened from a folder at a fragment of its address."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("needs Chromium")
    (folder / "page.html").write_text(page, encoding="utf-8")
    address = f"{(folder / 'page.html').as_uri()}#{fragment}"
    command = [browser, *OPTIONS, f"--user-data-dir={folder / 'profile'}", address]
    document = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False).stdout
    if "</html>" not in document:
        pytest.skip("Chromium does not start here")
    return document


def answered(page, folder, expression):
    """The value of an expression on a page, put into the document for it."""
    script = f"<pre id=answer></pre><script type=module>answer.textContent = JSON.stringify({expression})</script>"
    document = after_scripts(page.replace("</body>", f"{script}</body>"), folder)
    answer = re.search(r'<pre id="answer"[^>]*>(.*?)</pre>', document, flags=re.S)
    assert answer is not None
    return json.loads(html.unescape(answer[1]))
