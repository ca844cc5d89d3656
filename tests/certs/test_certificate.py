"""Foreign certificates are read at once or refused."""

from __future__ import annotations

import pytest
from cryptography import x509

from ringfence.certs import der, tbs
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import RingfenceError
from ringfence.certs.svid import verify_peer
from tests.attacks import signer
from tests.certs.material import HOUR, NOW, TD, TRAINER, new_authority, new_key

_AUTHORITY, _KEYS = new_authority()
(_LEAF,) = _AUTHORITY.issue_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
_FIELDS = der.parts(der.parts(_LEAF)[0])


def _with(index: int, value: bytes) -> bytes:
    layout = der.sequence(*_FIELDS[:index], value, *_FIELDS[index + 1 :])
    return tbs.certificate(layout, signer(_AUTHORITY, _KEYS)(layout))


def test_a_sound_certificate_is_read() -> None:
    """Ours are."""
    assert read_certificate(_LEAF) == x509.load_der_x509_certificate(_LEAF)


_TWICE = der.tlv(0xA3, der.sequence(*der.parts(der.parts(_FIELDS[7])[0]) * 2))
_NAME_OF_BITS = der.sequence(der.tlv(0x31, der.sequence(der.oid("2.5.4.10"), der.bit_string(b"a"))))


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"noise",
        _LEAF + b"\x00",
        _with(0, der.tlv(0xA0, der.integer(7))),
        _with(1, der.integer(0)),
        _with(1, b"\x02\x01\x80"),
        _with(3, b"\x30\x03\x31\x01\x00"),
        _with(5, _NAME_OF_BITS),
        _with(6, b"\x30\x00"),
        _with(7, _TWICE),
    ],
)
def test_damage_shows_at_once_and_as_one_error(broken: bytes) -> None:
    """Version, serial, names, key and extensions: all are parsed on reading, none later."""
    with pytest.raises(ValueError):
        read_certificate(broken)
    with pytest.raises(RingfenceError):
        verify_peer([broken], _AUTHORITY.bundle(1), now=NOW)
    with pytest.raises(RingfenceError, match="cannot be read"):
        verify_peer([_LEAF], SpiffeBundle(TD, (broken,)), now=NOW)
