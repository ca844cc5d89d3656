"""The wire of a TPM, both ways: big-endian numbers, and buffers after their size (TPM 2.0 Part 2, 4 and 10.4)."""

from __future__ import annotations

from ringfence.certs.errors import Kind, RingfenceError


class Reader:
    """Takes *data* apart from its first byte on; whatever does not fit raises an error of *kind*, naming *what*."""

    def __init__(self, data: bytes, what: str, kind: Kind = Kind.UNAUTHENTICATED) -> None:
        self._data = data
        self._at = 0
        self._what = what
        self._kind = kind

    def number(self, size: int) -> int:
        """An unsigned number of *size* bytes."""
        return int.from_bytes(self.take(size))

    def take(self, size: int) -> bytes:
        """The next *size* bytes."""
        end = self._at + size
        if end > len(self._data):
            raise self.refused("it ends too early")
        piece, self._at = self._data[self._at : end], end
        return piece

    def sized(self) -> bytes:
        """The bytes of a TPM2B."""
        return self.take(self.number(2))

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        """Nothing more is there: what is left over was judged by nobody."""
        if self._at != len(self._data):
            raise self.refused("more follows it")

    def refused(self, detail: str) -> RingfenceError:
        """The error that this is no *what*."""
        return RingfenceError(self._kind, f"{self._what} cannot be taken: {detail}")


def number(value: int, size: int) -> bytes:
    """An unsigned number of *size* bytes."""
    return value.to_bytes(size)


def sized(data: bytes) -> bytes:
    """*data* as a TPM2B."""
    return number(len(data), 2) + data
