"""The README as package indexes show it: its links are absolute as soon as pyproject.toml names the repository.

``Repository`` in ``[project.urls]`` is the one place of the address. Without it links stay as they are in the README.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


def absolute(text: str, repository: str | None) -> str:
    """The text with links to files of the repository as addresses: pictures themselves, others as pages that show them."""
    for opening, place in ((r"!\[[^\]]*\]\(", "raw"), (r"(?<!!)\[[^\]]*\]\(", "blob")):
        if repository:
            text = re.sub(rf"({opening})(?!https?:|#)", rf"\1{repository.rstrip('/')}/{place}/HEAD/", text)
    return text


class Readme(MetadataHookInterface):
    def update(self, metadata):
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute(text, metadata.get("urls", {}).get("Repository")),
        }
