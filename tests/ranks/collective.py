"""A rank that reduces over gloo and says how long each took: `python collective.py RANK WORLD BYTES[,BYTES...] TIMES`.

MASTER_ADDR and MASTER_PORT are the store's, GLOO_SOCKET_IFNAME says which interface the data is to take.
"""

from __future__ import annotations

import json
import sys
import time

sys.path.append("/usr/lib/python3/dist-packages")

import torch
import torch.distributed as dist


def reduced(size: int, world: int) -> float:
    """Seconds of one all-reduce of *size* bytes, once everybody is there; raises SystemExit for a wrong sum."""
    data = torch.ones(size // 4)
    dist.barrier()
    began = time.perf_counter()
    dist.all_reduce(data)
    took = time.perf_counter() - began
    if data[0].item() != world:
        raise SystemExit(f"{data[0].item()} is no sum of {world} ones")
    return took


def main() -> None:
    """Print the seconds of each, by size, as JSON; one more of each size is not counted."""
    rank, world, times = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4])
    dist.init_process_group("gloo", rank=rank, world_size=world)
    sizes = list(map(int, sys.argv[3].split(",")))
    took = {size: [reduced(size, world) for _ in range(times + 1)][1:] for size in sizes}
    sys.stdout.write(f"{json.dumps(took)}\n")
    sys.stdout.flush()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
