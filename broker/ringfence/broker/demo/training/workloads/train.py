"""One rank of the job: a byte-level language model on the source of Python's own library, by DistributedDataParallel.

torchrun starts it. Environment: `STEPS`, `SAID` (a file that gets a JSON line a step, and one when STEPS are done).
From then on it trains further, a step now and then, until it is ended: what a job loses in its middle is to be seen.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from math import log
from pathlib import Path
from typing import Any

sys.path.append("/usr/lib/python3/dist-packages")

import torch
import torch.distributed as dist
from torch import nn

CONTEXT, WIDTH, BATCH, SEED = 16, 512, 128, 20240501
PAUSE = 0.05  # seconds between steps, once it has trained
HELD_BACK = 10  # one byte in so many is never trained on


class Model(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """The next byte from the CONTEXT before it; 664,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 32)
        self.layers = nn.Sequential(
            nn.Linear(32 * CONTEXT, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 256)
        )

    def forward(self, contexts: Any) -> Any:
        """Logits."""
        return self.layers(self.embed(contexts).flatten(1))


def text() -> tuple[Any, Any, float]:
    """What is trained on, what is held back, and the loss of whoever only knows how frequent each byte is."""
    source = Path(argparse.__file__).read_bytes()
    data = torch.tensor(list(source))
    border = len(data) - len(data) // HELD_BACK
    count = Counter(source)
    entropy = -sum(n / len(source) * log(n / len(source)) for n in count.values())
    return data[:border], data[border:], entropy


def batch(data: Any, generator: Any, size: int) -> tuple[Any, Any]:
    """Contexts and the byte after each."""
    windows = data.unfold(0, CONTEXT + 1, 1)[torch.randint(len(data) - CONTEXT, (size,), generator=generator)]
    return windows[:, :-1], windows[:, -1]


def loss_of(model: Any, data: Any) -> float:
    """On the same bytes for every rank."""
    with torch.no_grad():
        contexts, wanted = batch(data, torch.Generator().manual_seed(1), 2000)
        return float(nn.functional.cross_entropy(model(contexts), wanted))


def same_everywhere(model: Any) -> bool:
    """Whether all ranks have the same weights, which is what the collective is for."""
    own = torch.stack([weights.detach().double().sum() for weights in model.parameters()])
    every = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(every, own)
    return all(torch.equal(one, own) for one in every)


def main() -> None:
    """Train until ended."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    dist.init_process_group("gloo")
    rank, steps = dist.get_rank(), int(os.environ["STEPS"])
    seen, held_back, unigram = text()
    model = nn.parallel.DistributedDataParallel(Model())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(SEED + rank)  # each rank has bytes of its own
    with Path(os.environ["SAID"]).open("a", buffering=1, encoding="utf-8") as said:
        before = loss_of(model.module, held_back)
        step = 0
        while True:
            contexts, wanted = batch(seen, generator, BATCH)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(contexts), wanted).backward()
            optimizer.step()
            step += 1
            print(json.dumps({"step": step, "at": time.monotonic()}), file=said)
            if step > steps:
                time.sleep(PAUSE)
            if step == steps:
                after = {"before": before, "after": loss_of(model.module, held_back), "unigram": unigram}
                told = {key: round(value, 3) for key, value in after.items()}
                weights = sum(one.numel() for one in model.parameters())
                same = same_everywhere(model.module)
                done = {"trained": True, "rank": rank, "world": dist.get_world_size(), "weights": weights, "same": same}
                print(json.dumps({**done, **told, "torch": torch.__version__}), file=said)


if __name__ == "__main__":
    main()
