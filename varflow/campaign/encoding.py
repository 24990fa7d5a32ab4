"""Results as bytes: JSON, or an npz file for a dict of arrays. Exact both ways, and never a pickle."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

ZIP = b"PK"  # with which an npz file begins, and JSON never does


def encoded(result: Any) -> bytes:
    """JSON, or npz for a dict with an array in it."""
    if isinstance(result, dict) and any(isinstance(value, np.ndarray) for value in result.values()):
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **result)
        return file.getvalue()
    return json.dumps(result, ensure_ascii=False).encode()


def decoded(content: bytes) -> Any:
    """The result of these bytes."""
    if content.startswith(ZIP):
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    return json.loads(content)
