"""The authorities that an operator believes about nodes: PEM files, read again when one has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.broker import events
from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError

Roots = tuple[x509.Certificate, ...]
_MAX_ROOTS = 100


class RootFiles:
    """The authorities in the PEM files that *flag* named. Raises INVALID when it is made and they can't be read."""

    def __init__(self, paths: Sequence[Path], flag: str) -> None:
        self._paths = tuple(paths)
        self._flag = flag
        self._stamp = self._look()
        self._roots = read_roots(paths, flag)

    def __call__(self) -> Roots:
        """As the files have them now; where those can't be used, as they were, and the log says so."""
        stamp = self._look()  # before the reading, so that what changes meanwhile is read next time
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._roots = read_roots(self._paths, self._flag)
            except RingfenceError as error:
                events.authorities_kept(error)
            else:
                events.authorities_read(len(self._roots))
        return self._roots

    def _look(self) -> tuple[object, ...]:
        return tuple(_stamp_of(path) for path in self._paths)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def read_roots(paths: Sequence[Path], flag: str) -> Roots:
    """The authorities in PEM files; raises INVALID naming the file and *flag*."""
    roots: list[x509.Certificate] = []
    for path in paths:
        try:
            found = x509.load_pem_x509_certificates(path.read_bytes())
            roots += [read_certificate(root.public_bytes(Encoding.DER)) for root in found]
        except OSError as error:
            raise _unusable(path, error.strerror or str(error), flag) from error
        except ValueError:
            raise _unusable(path, "it holds no certificate in PEM, or a damaged one", flag) from None
    if len(roots) > _MAX_ROOTS:
        raise RingfenceError(Kind.INVALID, f"at most {_MAX_ROOTS} authorities with {flag}, these are {len(roots)}")
    return tuple(roots)


def _unusable(path: Path, detail: str, flag: str) -> RingfenceError:
    return RingfenceError(
        Kind.INVALID, f"the authority of nodes can't be used: {detail}", where=str(path), hint=f"Check {flag}"
    )
