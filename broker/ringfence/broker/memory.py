"""Keeps a daemon small: has the C library give memory back that was freed, which otherwise it keeps for what may come.

A server that tells a hundred agents of ten thousand entries frees far more than it goes on holding. By itself glibc
gives back only what is above the last block in use. Other C libraries (musl) have no such call and need none.
"""

from __future__ import annotations

import asyncio

EVERY = 60.0  # seconds


async def keep_little(every: float = EVERY) -> None:
    """Until cancelled, give back what was freed, now and every *every* seconds."""
    while True:
        await asyncio.to_thread(give_back)
        await asyncio.sleep(every)


def give_back() -> bool:
    """Give back each whole page of what was freed; whether there was one. Some milliseconds for a hundred MiB."""
    import ctypes  # 3 ms, which no start has to wait for

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # malloc_trim(3)
    return trim is not None and bool(trim(0))
