"""What proxies have refused, for as long as their next streams need to know: a bounded number of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from ringfence.xds.quarantine import Refusals

MOST = 4_096  # proxies; of one more the one that left first is forgotten


class Remembered:
    """By proxy, what it refused when its last stream ended."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._of: OrderedDict[str, Mapping[str, Refusals]] = OrderedDict()

    def leave(self, node: str, refusals: Mapping[str, Refusals]) -> None:
        """The stream of *node* ends, and it refuses these, which may be none."""
        self._of.pop(node, None)
        if refusals:
            self._of[node] = refusals
        if len(self._of) > self._most:
            self._of.popitem(last=False)

    def of(self, node: str) -> Mapping[str, Refusals]:
        """What it refused; another stream of it may ask too."""
        return self._of.get(node, {})
