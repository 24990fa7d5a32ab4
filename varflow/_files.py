"""Output files, replaced atomically: written under another name, flushed to disk, then renamed."""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def replace_files(files: Mapping[Path, str | bytes]) -> None:
    """Replace all files, or none if one cannot be written; folders are created, text is UTF-8.

    Partial files have unique names, so two runs may write to one folder; the later one's files stay.
    """
    partial: dict[Path, Path] = {}
    try:
        for path, content in files.items():
            place = Path(os.path.realpath(path))  # the target of a link; the link stays
            place.parent.mkdir(parents=True, exist_ok=True)
            partial[place] = place.with_name(f".varflow-{secrets.token_hex(8)}.partial")
            _store(partial[place], content.encode() if isinstance(content, str) else content)
            with suppress(FileNotFoundError):
                shutil.copymode(place, partial[place])
        for place, written in partial.items():
            os.replace(written, place)
    finally:
        for written in partial.values():
            with suppress(OSError):
                written.unlink(missing_ok=True)


def _store(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def picture(figure: Any, form: str = "png", **options: Any) -> bytes:
    """A matplotlib Figure as bytes of a file; ``options`` go to ``savefig``."""
    content = io.BytesIO()
    figure.savefig(content, format=form, **options)
    return content.getvalue()
