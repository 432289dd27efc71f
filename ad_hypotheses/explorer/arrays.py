"""Arrays as the page reads them."""

from __future__ import annotations

import base64

import numpy as np


def packed(values: np.ndarray, kind: type) -> str:
    """Return an array of a number type, little-endian, as base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("<")).tobytes()).decode()
