"""The model: boosted stumps on a logistic loss, trained in a second, judged on rows that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FEATURES = ("ratio", "abroad", "night", "velocity", "chargebacks", "age")
ROUNDS, RATE, CUTS, SMOOTHING = 80, 0.3, 15, 5.0
HELD_BACK = 4  # one row in so many is kept for judging


@dataclass(frozen=True, slots=True)
class Model:
    """A sum of stumps; `auc` is the area under the ROC curve on the rows that were held back."""

    bias: float
    feature: Any  # of each stump, as int array
    cut: Any
    below: Any  # what it adds at or below its cut
    above: Any
    auc: float = 0.0

    def margins(self, rows: Any) -> Any:
        """Log-odds of fraud of each row (n x 6)."""
        import numpy as np

        values = rows[:, self.feature]
        return self.bias + np.where(values <= self.cut, self.below, self.above).sum(axis=1)

    def score(self, row: Sequence[float]) -> float:
        """The probability that one payment is fraud."""
        import numpy as np

        return float(_sigmoid(self.margins(np.asarray([row], dtype=float)))[0])


def train(rows: Sequence[Sequence[float]]) -> Model:
    """Train on *rows* (the features, then 1 for fraud or 0)."""
    import numpy as np

    data = np.asarray(rows, dtype=float)
    kept = np.arange(len(data)) % HELD_BACK == 0
    model = _boost(data[~kept, :-1], data[~kept, -1])
    auc = _auc(model.margins(data[kept, :-1]), data[kept, -1])
    return Model(model.bias, model.feature, model.cut, model.below, model.above, auc)


def _boost(inputs: Any, labels: Any) -> Model:
    """Newton boosting: each round adds the stump that lowers the loss most."""
    import numpy as np

    columns, cuts = _candidates(inputs)
    below = inputs[:, columns] <= cuts
    rate = labels.mean()
    bias = float(np.log(rate / (1 - rate)))
    margins = np.full(len(labels), bias)
    stumps = []
    for _ in range(ROUNDS):
        chance = _sigmoid(margins)
        slope, bend = labels - chance, chance * (1 - chance)
        slopes, bends = slope @ below, bend @ below
        rest, rest_bends = slope.sum() - slopes, bend.sum() - bends
        best = int(np.argmax(slopes**2 / (bends + SMOOTHING) + rest**2 / (rest_bends + SMOOTHING)))
        low = RATE * slopes[best] / (bends[best] + SMOOTHING)
        high = RATE * rest[best] / (rest_bends[best] + SMOOTHING)
        margins += np.where(below[:, best], low, high)
        stumps.append((columns[best], cuts[best], low, high))
    feature, cut, lows, highs = (np.asarray(part) for part in zip(*stumps, strict=True))
    return Model(bias, feature.astype(int), cut, lows, highs)


def _candidates(inputs: Any) -> tuple[Any, Any]:
    """Each column with its quantiles: where a stump may cut."""
    import numpy as np

    pairs = [
        (column, cut)
        for column in range(inputs.shape[1])
        for cut in np.unique(np.quantile(inputs[:, column], np.linspace(0.02, 0.98, CUTS)))
    ]
    columns, cuts = zip(*pairs, strict=True)
    return np.asarray(columns), np.asarray(cuts)


def _auc(margins: Any, labels: Any) -> float:
    """The chance that a fraud is ranked above a payment that is none (Mann-Whitney)."""
    import numpy as np

    frauds, others = margins[labels == 1], np.sort(margins[labels == 0])
    lower = (np.searchsorted(others, frauds, "left") + np.searchsorted(others, frauds, "right")) / 2
    return float(lower.mean() / len(others))


def _sigmoid(margins: Any) -> Any:
    import numpy as np

    return 1 / (1 + np.exp(-margins))
