"""The garbage collector of a daemon: off while it imports, and seldom over all that its open streams keep."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Objects made before a look at the youngest, and looks before one at the next generation. Python's own 700 and 10 look
# ten times a second at what ten thousand streams keep, which was a quarter of the time of telling them of a change.
_THRESHOLDS = 20_000, 20, 50


@contextmanager
def importing() -> Iterator[None]:
    """Around a daemon's imports: nothing that they make is garbage, and looking for it costs a tenth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)
        gc.enable()
