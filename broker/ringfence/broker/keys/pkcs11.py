"""Keys in a PKCS#11 token: made in it, never out of it; the token signs digests (PKCS#11 3.1, 6.3: CKM_ECDSA)."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.port import check_key_id, no_such_key

try:
    import pkcs11
    from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
    from pkcs11 import exceptions as failures
except ImportError:
    raise RingfenceError(
        Kind.INVALID, "this installation cannot use PKCS#11", hint="Run: pip install 'ringfence[pkcs11]'"
    ) from None

T = TypeVar("T")

_P256 = bytes.fromhex("06082a8648ce3d030107")  # DER of 1.2.840.10045.3.1.7
_COORDINATE = 32  # bytes
_OWNER = re.compile(r"[0-9a-z]{1,64}")
_BROKEN = (
    failures.SessionHandleInvalid,
    failures.SessionClosed,
    failures.UserNotLoggedIn,
    failures.DeviceError,
    failures.DeviceRemoved,
    failures.TokenNotPresent,
)


class Pkcs11Keys:
    """A key manager whose keys are objects labelled `ringfence-OWNER-KEY`; it sees no others.

    One session, used by one thread at a time, opened again once when the token has forgotten it. Signing waits for the
    token. Raises INVALID for a module or token that is not there, UNAUTHENTICATED for a PIN that is not taken, and
    UNAVAILABLE for whatever else the token says.
    """

    def __init__(self, module: Path, token: str, pin: bytes, *, owner: str) -> None:
        if not _OWNER.fullmatch(owner):
            raise RingfenceError(Kind.INVALID, f"{owner!r} names nobody on a token", hint="Restore the data folder")
        if not pin.isascii():
            raise RingfenceError(Kind.INVALID, "the PIN has characters that are not ASCII", hint="Change the PIN")
        self._module = module
        self._token = token
        self._pin = pin
        self._prefix = f"ringfence-{owner}-"
        self._lock = threading.Lock()
        self._session: Any = None
        self._keys: dict[str, Any] = {}
        self._public: dict[str, ec.EllipticCurvePublicKey] = {}
        with self._lock, self._explained():
            self._open()

    def __repr__(self) -> str:
        return f"<Pkcs11Keys with {len(self._keys)} keys in the token {self._token!r}>"

    def generate(self, key_id: str) -> ec.EllipticCurvePublicKey:
        """Make a P-256 key in the token, under a new name."""
        label = self._prefix + check_key_id(key_id)
        return self._ask(lambda: self._generate(key_id, label))

    def public_key(self, key_id: str) -> ec.EllipticCurvePublicKey:
        """The public half."""
        try:
            return self._public[key_id]
        except KeyError:
            raise no_such_key(key_id) from None

    def sign(self, key_id: str, data: bytes) -> bytes:
        """The DER signature over SHA-256 of *data*; hashed here, since not every token offers ECDSA with SHA-256."""
        digest = hashlib.sha256(data).digest()
        raw: bytes = self._ask(lambda: self._key(key_id).sign(digest, mechanism=Mechanism.ECDSA))
        r, s = raw[:_COORDINATE], raw[_COORDINATE:]
        return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))

    def delete(self, key_id: str) -> None:
        """Destroy both halves, the private one first."""
        self._ask(lambda: self._destroy(key_id))

    def key_ids(self) -> frozenset[str]:
        """The names of all keys held."""
        return frozenset(self._keys)

    def close(self) -> None:
        """End the session, and with it the login."""
        with self._lock:
            if self._session is not None:
                with contextlib.suppress(failures.PKCS11Error):
                    self._session.close()
                self._session = None

    def _generate(self, key_id: str, label: str) -> ec.EllipticCurvePublicKey:
        if key_id in self._keys:
            raise RingfenceError(Kind.CONFLICT, f"the key {key_id!r} exists")
        curve = self._session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: _P256}, local=True)
        public, private = curve.generate_keypair(
            store=True,
            label=label,
            id=label.encode(),
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            # Said, not left to the token's defaults: the key never leaves it, and shows to nobody without the PIN.
            private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True},
        )
        self._public[key_id] = _point(public[Attribute.EC_POINT])
        self._keys[key_id] = private
        return self._public[key_id]

    def _destroy(self, key_id: str) -> None:
        self._key(key_id).destroy()
        for half in list(self._session.get_objects({Attribute.LABEL: self._prefix + key_id})):
            half.destroy()
        del self._keys[key_id], self._public[key_id]

    def _key(self, key_id: str) -> Any:
        try:
            return self._keys[key_id]
        except KeyError:
            raise no_such_key(key_id) from None

    def _open(self) -> None:
        """Log in and learn which keys are ours; what is only half there is no key."""
        token = pkcs11.lib(str(self._module)).get_token(token_label=self._token)
        try:
            self._session = token.open(rw=True, user_pin=self._pin.decode())
        except failures.UserAlreadyLoggedIn:
            self._session = token.open(rw=True)  # the login is the process's, not the session's
        ours = [
            (self._name(found), found)
            for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
            for found in list(self._session.get_objects({Attribute.CLASS: kind, Attribute.KEY_TYPE: KeyType.EC}))
        ]
        ours = [(name, found) for name, found in ours if name]
        public = {name: _point(f[Attribute.EC_POINT]) for name, f in ours if f.object_class is ObjectClass.PUBLIC_KEY}
        private = {name: found for name, found in ours if found.object_class is ObjectClass.PRIVATE_KEY}
        self._keys = {name: key for name, key in private.items() if name in public}
        self._public = {name: public[name] for name in self._keys}

    def _name(self, found: Any) -> str:
        label: str = found.label or ""
        return label.removeprefix(self._prefix) if label.startswith(self._prefix) else ""

    def _ask(self, work: Callable[[], T]) -> T:
        with self._lock, self._explained():
            try:
                return work()
            except _BROKEN:
                self._open()
                return work()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (failures.PinIncorrect, failures.PinInvalid, failures.PinLenRange, failures.PinLocked) as error:
            raise RingfenceError(
                Kind.UNAUTHENTICATED,
                f"the token {self._token!r} does not take the PIN ({type(error).__name__})",
                where=str(self._module),
                hint="Check --pkcs11-pin-file; too many tries lock a token",
            ) from None
        except (failures.NoSuchToken, failures.MultipleTokensReturned) as error:
            raise RingfenceError(
                Kind.INVALID,
                f"there is not one token {self._token!r} ({type(error).__name__})",
                where=str(self._module),
                hint="List them with: pkcs11-tool --module FILE --list-token-slots",
            ) from None
        except (failures.PKCS11Error, RuntimeError) as error:
            # The library says no more than its root class, or a RuntimeError, of a file that is no module.
            unloaded = type(error) in {failures.PKCS11Error, RuntimeError}
            raise RingfenceError(
                Kind.INVALID if unloaded else Kind.UNAVAILABLE,
                "this is no PKCS#11 module" if unloaded else f"the token {self._token!r} fails: {type(error).__name__}",
                where=str(self._module),
                hint="Check --pkcs11-module and the token's own log",
            ) from None


def _point(value: bytes) -> ec.EllipticCurvePublicKey:
    # CKA_EC_POINT is an OCTET STRING around the point (PKCS#11 3.1, 6.3.3); some tokens leave the wrapping out.
    wrapped = len(value) == 2 + 1 + 2 * _COORDINATE and value[:2] == bytes([0x04, 1 + 2 * _COORDINATE])
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), value[2:] if wrapped else value)
