"""Device files of RDMA with their modes, as `stat -c '%a %n' /dev/infiniband/*` prints them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ringfence.fabric.doctor.bounded import MAX_FACTS, lines

_LINE = re.compile(r"([0-7]{3,4}) (?:/dev/infiniband/)?([A-Za-z0-9_]{1,64})")


@dataclass(frozen=True, slots=True)
class DeviceFile:
    """One of them; *mode* is that of its permissions."""

    path: str
    line: int
    name: str
    mode: int

    @property
    def manages(self) -> bool:
        """Whether management datagrams are sent by it: by issm as the subnet manager, by umad as anybody."""
        return self.name.startswith(("issm", "umad"))


def device_files(text: str, path: str) -> tuple[DeviceFile, ...]:
    """Those that *text* from *path* lists."""
    read = ((number, _LINE.fullmatch(line.strip())) for number, line in lines(text))
    found = [DeviceFile(path, number, told.group(2), int(told.group(1), 8)) for number, told in read if told]
    return tuple(found[:MAX_FACTS])
