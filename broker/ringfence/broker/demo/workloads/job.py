"""What is trained: a small network, in PyTorch where there is one, else the same network in NumPy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SEED = 7
MOMENTUM = 0.9
# Debian's python3-torch serves any interpreter of the same version, if it comes last, behind our own packages.
SYSTEM_PACKAGES = "/usr/lib/python3/dist-packages"

Weights = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: size and pace from the registry, the features' mean and scale from the hub."""

    hidden: int
    learning_rate: float
    epochs: int
    mean: list[float]
    scale: list[float]


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it; losses are mean squared errors over all rows."""

    framework: str
    loss_before: float
    loss_after: float
    weights: Weights


def train(rows: Sequence[Sequence[float]], recipe: Recipe, *, framework: str = "torch") -> Trained:
    """Train on *rows* (features, then the target); NumPy when it is asked for or no torch is found."""
    torch = find_torch() if framework == "torch" else None
    return _train_torch(torch, rows, recipe) if torch is not None else _train_numpy(rows, recipe)


def find_torch() -> Any:
    """The torch module of this interpreter, else of the system; None where neither can be imported."""
    try:
        import torch
    except ImportError:
        if SYSTEM_PACKAGES in sys.path:
            return None
        sys.path.append(SYSTEM_PACKAGES)
        return find_torch()
    return torch


def _train_torch(torch: Any, rows: Sequence[Sequence[float]], recipe: Recipe) -> Trained:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    data = torch.tensor([list(row) for row in rows])
    inputs = (data[:, :-1] - torch.tensor(recipe.mean)) / torch.tensor(recipe.scale)
    targets = data[:, -1:]
    model = torch.nn.Sequential(
        torch.nn.Linear(inputs.shape[1], recipe.hidden), torch.nn.Tanh(), torch.nn.Linear(recipe.hidden, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.learning_rate, momentum=MOMENTUM)
    losses = []
    for _ in range(recipe.epochs + 1):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    weights = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
    return Trained(f"torch {torch.__version__}", losses[0], losses[-1], weights)


def _train_numpy(rows: Sequence[Sequence[float]], recipe: Recipe) -> Trained:
    import numpy as np

    data = np.asarray(rows, dtype=float)
    inputs, targets = (data[:, :-1] - recipe.mean) / recipe.scale, data[:, -1:]
    random = np.random.default_rng(SEED)
    shapes = ((inputs.shape[1], recipe.hidden), (recipe.hidden,), (recipe.hidden, 1), (1,))
    parts = [random.normal(0, 0.4, shape) for shape in shapes]
    velocities = [np.zeros(shape) for shape in shapes]
    losses = []
    for _ in range(recipe.epochs + 1):
        w1, b1, w2, b2 = parts
        hidden = np.tanh(inputs @ w1 + b1)
        error = hidden @ w2 + b2 - targets
        losses.append(float(np.mean(error**2)))
        slope = 2 * error / len(inputs)
        inner = slope @ w2.T * (1 - hidden**2)
        gradients = (inputs.T @ inner, inner.sum(0), hidden.T @ slope, slope.sum(0))
        velocities = [MOMENTUM * v + gradient for v, gradient in zip(velocities, gradients, strict=True)]
        parts = [part - recipe.learning_rate * v for part, v in zip(parts, velocities, strict=True)]
    names = ("0.weight", "0.bias", "2.weight", "2.bias")
    weights = {name: part.T.tolist() for name, part in zip(names, parts, strict=True)}
    return Trained("numpy (no torch found)", losses[0], losses[-1], weights)
