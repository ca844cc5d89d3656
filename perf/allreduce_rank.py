"""A rank that reduces what it is told to: lines `BYTES TIMES` in, the seconds of each as JSON out.

RANK says which of two it is, MASTER_ADDR and MASTER_PORT where the store is, GLOO_SOCKET_IFNAME which interface to use.
"""

from __future__ import annotations

import json
import os
import sys
import time

sys.path.append("/usr/lib/python3/dist-packages")

import torch
import torch.distributed as dist

WARM = 1  # of each that is not counted


def _reduced(size: int, times: int) -> list[float]:
    data, took = torch.zeros(size // 4), []
    for _ in range(times + WARM):
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(data)
        took.append(time.perf_counter() - began)
    return took[WARM:]


def main() -> None:
    """Until stdin ends."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=2)
    sys.stdout.write("up\n")
    sys.stdout.flush()
    for line in sys.stdin:
        size, times = map(int, line.split())
        sys.stdout.write(f"{json.dumps(_reduced(size, times))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
