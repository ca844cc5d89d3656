"""Sends TCP segments that nobody waits for, as many as each line of stdin says, and prints nanoseconds for each.

Each leaves through the node's filter, and the peer's kernel answers it with a reset, which comes in through it.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

_PORT, _OWN = 50500, 50501  # of the fabric's span; nobody listens


def _segment(source: str, target: str) -> bytes:
    """IP and TCP headers of an acknowledgement; the kernel fills in the checksum of the former (raw(7))."""
    here, there = socket.inet_aton(source), socket.inet_aton(target)
    address = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0, here, there)
    plain = struct.pack("!HHIIBBHHH", _OWN, _PORT, 1, 1, 5 << 4, 0x10, 1024, 0, 0)
    total = sum(struct.unpack("!16H", here + there + struct.pack("!BBH", 0, socket.IPPROTO_TCP, 20) + plain))
    total = (total & 0xFFFF) + (total >> 16)
    return address + plain[:16] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + plain[18:]


def main(source: str, *targets: str) -> None:
    """Until stdin ends; round robin over *targets*."""
    made = [(_segment(source, target), (target, 0)) for target in targets]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as line:
        for asked in sys.stdin:
            rounds = int(asked) // len(made)
            started = time.perf_counter_ns()
            for _ in range(rounds):
                for segment, target in made:
                    line.sendto(segment, target)
            print((time.perf_counter_ns() - started) / (rounds * len(made)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
