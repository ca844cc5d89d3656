"""Commands of a TPM (TPM 2.0 Part 3), as few as a proof takes. Every key that is loaded is unloaded again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum

from ringfence.broker.agent.tpm.link import Link, link
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.tpm.credential import Credential
from ringfence.certs.tpm.names import Alg
from ringfence.certs.tpm.reader import Reader, number, sized

OWNER, NULL, PASSWORD, ENDORSEMENT = 0x40000001, 0x40000007, 0x40000009, 0x4000000B  # TPM_RH (Part 2, 7.4)
_NO_SESSIONS, _SESSIONS, _HASHCHECK = 0x8001, 0x8002, 0x8024  # TPM_ST (Part 2, 6.9)
_POLICY = 0x01  # TPM_SE
_HANDLES = 0x00000001  # TPM_CAP
_RETRY, _TRIES = 0x922, 10  # "the same again": the kernel's driver sees to it, a software TPM leaves it to us
_CHUNK = 512  # bytes of NV memory read at once: every TPM allows that
_WHY = {  # of response codes (Part 2, 6.6), without the number of the parameter that they are about
    0x082: "the key is not for that",
    0x09F: "it is damaged, or of another TPM or another parent",
    0x08E: "it is locked by a password",
    0x0A2: "it is locked by a password",
    0x0A0: "the key signs only what the TPM itself hashed",
    0x902: "it has no room for another key",
    0x921: "it is locked after too many wrong passwords",
}


class _Code(IntEnum):
    """TPM_CC (Part 2, 6.5.2)."""

    CREATE_PRIMARY = 0x131
    ACTIVATE_CREDENTIAL = 0x147
    CERTIFY = 0x148
    NV_READ = 0x14E
    POLICY_SECRET = 0x151
    LOAD = 0x157
    SIGN = 0x15D
    FLUSH_CONTEXT = 0x165
    NV_READ_PUBLIC = 0x169
    READ_PUBLIC = 0x173
    START_AUTH_SESSION = 0x176
    GET_CAPABILITY = 0x17A


@dataclass(frozen=True, slots=True)
class Key:
    """One that the TPM holds: its handle, and its TPMT_PUBLIC."""

    handle: int
    public: bytes


class Tpm:
    """The TPM at the other end of *through*. Keys and hierarchies have no passwords. A refusal raises INVALID."""

    def __init__(self, through: Link, where: str) -> None:
        self._through = through
        self._where = where
        self._loaded: list[int] = []

    @classmethod
    @contextmanager
    def open(cls, tcti: str) -> Iterator[Tpm]:
        """The one that *tcti* names; at the end nothing of ours is left in it."""
        with link(tcti) as through:
            tpm = cls(through, tcti)
            try:
                yield tpm
            finally:
                with suppress(RingfenceError, OSError):  # it went away: what brought us here says more
                    for handle in reversed(tpm._loaded):
                        tpm._flush(handle)

    def create_primary(self, hierarchy: int, template: bytes) -> Key:
        """The key that *template* gives in *hierarchy*."""
        sensitive = sized(sized(b"") + sized(b""))
        asked = sensitive + sized(template) + sized(b"") + number(0, 4)
        handle, answer = self._with_handle(_Code.CREATE_PRIMARY, [hierarchy], [_password()], asked)
        return Key(handle, answer.sized())

    def load(self, parent: Key, private: bytes, public: bytes) -> Key:
        """The key that *parent* wrapped: the contents of its TPM2B_PRIVATE, and its TPMT_PUBLIC."""
        asked = sized(private) + sized(public)
        handle, _ = self._with_handle(_Code.LOAD, [parent.handle], [_password()], asked)
        return Key(handle, public)

    def unload(self, key: Key) -> None:
        """Makes room; a key that stays in the TPM anyway is left there."""
        if key.handle in self._loaded:
            self._loaded.remove(key.handle)
            self._flush(key.handle)

    def certify(self, key: Key, by: Key, qualifying: bytes) -> tuple[bytes, bytes]:
        """What *by* says of *key*: TPMS_ATTEST, and TPMT_SIGNATURE over it."""
        asked = sized(qualifying) + number(Alg.NULL, 2)
        answer = self._call(_Code.CERTIFY, [key.handle, by.handle], [_password(), _password()], asked)
        return answer.sized(), answer.rest()

    def sign(self, key: Key, digest: bytes, scheme: bytes) -> bytes:
        """TPMT_SIGNATURE of *key* over *digest*; *scheme* is a TPMT_SIG_SCHEME, null for the key's own."""
        ticket = number(_HASHCHECK, 2) + number(NULL, 4) + sized(b"")
        return self._call(_Code.SIGN, [key.handle], [_password()], sized(digest) + scheme + ticket).rest()

    def activate(self, attestation: Key, endorsement: Key, credential: Credential) -> bytes:
        """What was wrapped for both of them; the endorsement key is used as its policy says, by its hierarchy."""
        nothing = sized(b"")
        start = sized(secrets.token_bytes(16)) + nothing + number(_POLICY, 1) + number(Alg.NULL, 2)
        session, _ = self._with_handle(_Code.START_AUTH_SESSION, [NULL, NULL], [], start + number(Alg.SHA256, 2))
        asked = nothing * 3 + number(0, 4)
        self._call(_Code.POLICY_SECRET, [ENDORSEMENT, session], [_password()], asked)
        handles, auths = [attestation.handle, endorsement.handle], [_password(), _session(session)]
        asked = credential.id_object + credential.encrypted_secret
        answer = self._call(_Code.ACTIVATE_CREDENTIAL, handles, auths, asked)
        self._loaded.remove(session)  # it ends with the command that it was for
        return answer.sized()

    def kept(self, first: int, count: int) -> list[int]:
        """The handles from *first* on, *count* at most, of keys and memory that stay when the power goes."""
        asked = number(_HANDLES, 4) + number(first, 4) + number(count, 4)
        answer = self._call(_Code.GET_CAPABILITY, [], [], asked)
        answer.take(1 + 4)  # moreData, which capability
        return [answer.number(4) for _ in range(answer.number(4))]

    def read_public(self, handle: int) -> Key:
        """The key that is kept there."""
        return Key(handle, self._call(_Code.READ_PUBLIC, [handle], [], b"").sized())

    def read_memory(self, index: int) -> bytes:
        """All that is written there, by the right that everybody has."""
        public = _reader(self._call(_Code.NV_READ_PUBLIC, [index], [], b"").sized(), _Code.NV_READ_PUBLIC)
        public.take(4 + 2 + 4)  # index, hash, attributes
        public.sized()  # authPolicy
        size, data = public.number(2), b""
        while len(data) < size:
            asked = number(min(_CHUNK, size - len(data)), 2) + number(len(data), 2)
            data += self._call(_Code.NV_READ, [index, index], [_password()], asked).sized()
        return data

    def _flush(self, handle: int) -> None:
        self._call(_Code.FLUSH_CONTEXT, [], [], number(handle, 4))

    def _with_handle(self, code: _Code, handles: Sequence[int], auths: list[bytes], asked: bytes) -> tuple[int, Reader]:
        """The handle that a command answers first, which is ours to unload, and the rest of the answer."""
        answer = self._answer(code, handles, auths, asked)
        handle = answer.number(4)
        self._loaded.append(handle)
        if auths:
            answer.take(4)  # how long the parameters are
        return handle, answer

    def _call(self, code: _Code, handles: Sequence[int], auths: list[bytes], asked: bytes) -> Reader:
        """The parameters of the answer, without what sessions add to it."""
        answer = self._answer(code, handles, auths, asked)
        return _reader(answer.take(answer.number(4)), code) if auths else answer

    def _answer(self, code: _Code, handles: Sequence[int], auths: list[bytes], asked: bytes) -> Reader:
        body = b"".join(number(handle, 4) for handle in handles)
        if auths:
            authorised = b"".join(auths)
            body += number(len(authorised), 4) + authorised
        body += asked
        head = number(_SESSIONS if auths else _NO_SESSIONS, 2) + number(10 + len(body), 4) + number(code, 4)
        refused = _RETRY
        for _ in range(_TRIES):
            answer = _reader(self._through.exchange(head + body), code)
            answer.take(2 + 4)
            refused = answer.number(4)
            if not refused:
                return answer
            if refused != _RETRY:
                break
        raise self._refusal(code, refused)

    def _refusal(self, code: _Code, refused: int) -> RingfenceError:
        # Codes of format 1 say in bits 8 to 11 which parameter, handle or session they are about.
        why = _WHY.get(refused & 0xBF if refused & 0x80 else refused, "")
        detail = f"the TPM refused TPM2_{code.name} (0x{refused:x})" + (f": {why}" if why else "")
        return RingfenceError(Kind.INVALID, detail, where=self._where, hint="Look it up with `tpm2_rc_decode`")


def _reader(answer: bytes, code: _Code) -> Reader:
    return Reader(answer, f"the TPM's answer to TPM2_{code.name}", Kind.INVALID)


def _password() -> bytes:
    """The authorisation that an empty password gives."""
    return _session(PASSWORD)


def _session(handle: int) -> bytes:
    return number(handle, 4) + sized(b"") + number(0, 1) + sized(b"")
