"""JWT-SVID.md by the numbers of lines.toml (1.3): ours through other libraries, theirs through our validator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from spiffe import JwtBundle, JwtSvid
from spiffe import TrustDomain as TheirTrustDomain
from spiffe.svid.errors import JwtSvidError

from ringfence.broker.cli.remote import Remote
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.jws import ALGORITHMS, LEEWAY
from ringfence.certs.jwt_svid import JwtClaims, validate_jwt
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from tests.conformance import foreign
from tests.conformance.foreign import key_of, parts, with_header
from tests.e2e.identities import web_server

_TD, _OTHER = TrustDomain("example.org"), TrustDomain("other.org")
_NOW = datetime.now(UTC)
_AUTHORITY = Authority.create(_TD, MemoryKeys(), now=_NOW)
_TRAINER = SpiffeId(_TD, "/ns/team-a/sa/trainer")
_TOKEN, _ = _AUTHORITY.issue_jwt(_TRAINER, ["db"], now=_NOW, ttl=timedelta(hours=12))  # a run of all tests is shorter
_FOREIGN = SpiffeBundle(_TD, jwt_authorities=foreign.AUTHORITIES)
_CLAIMS = {"sub": str(_TRAINER), "aud": ["db"], "exp": int((_NOW + timedelta(hours=1)).timestamp())}


def _made(header: Mapping[str, Any] | None = None, claims: Mapping[str, Any] | None = None) -> str:
    """A token by another library; a value of None takes the member out."""
    usual = {"alg": "ES256", "kid": "ES256", "typ": "JWT"}
    return foreign.signed({**usual, **(header or {})}, {**_CLAIMS, **(claims or {})})


def _accepted(token: str, audience: str = "db") -> JwtClaims:
    return validate_jwt(token, audience, {_TD: _FOREIGN}, now=_NOW)


def _refused(token: str, says: str, audience: str = "db") -> None:
    with pytest.raises(RingfenceError, match=says) as caught:
        _accepted(token, audience)
    assert caught.value.kind is Kind.UNAUTHENTICATED


def test_1_3_1_a_plain_jose_library_verifies_it() -> None:
    """Our tokens are ordinary compact JWTs; only the `use` of their keys is SPIFFE's own."""
    keys = json.loads(_AUTHORITY.bundle(1).jwks())["keys"]
    plain = [{name: value for name, value in jwk.items() if name != "use"} for jwk in keys]
    assert jwt.decode(_TOKEN, KeySet.import_key_set({"keys": plain}), algorithms=["ES256"]).claims["sub"] == str(
        _TRAINER
    )


def test_1_3_1_json_serialization_is_refused() -> None:
    """The same header, claims and signature in either JSON form are no JWT-SVID."""
    header, payload, signature = _made().split(".")
    flat = {"protected": header, "payload": payload, "signature": signature}
    general = {"payload": payload, "signatures": [{"protected": header, "signature": signature}]}
    for document in (flat, general):
        _refused(json.dumps(document), "compact serialization")


@pytest.mark.parametrize("more", [{"jku": "https://evil.example/"}, {"cty": "JWT"}, {"crit": ["x"]}, {"x5c": []}])
def test_1_3_2_no_other_headers(more: dict[str, Any]) -> None:
    """Ours has the three; a token with one more is refused, whatever it is."""
    assert parts(_TOKEN)[0].keys() == {"alg", "kid", "typ"}
    _refused(with_header(_made(), {"alg": "ES256", "kid": "ES256", "typ": "JWT", **more}), "may not have")


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_1_3_3_the_nine_algorithms_are_accepted(alg: str) -> None:
    """A federated trust domain may use any of them."""
    assert _accepted(_made({"alg": alg, "kid": key_of(alg)})).spiffe_id == _TRAINER


@pytest.mark.parametrize("alg", ["none", "HS256", "EdDSA", "ES256K", "es256", "", 5, None])
def test_1_3_3_others_are_refused_before_a_key_is_looked_up(alg: object) -> None:
    """Although no bundle is there at all, it is the algorithm that is named."""
    with pytest.raises(RingfenceError, match="algorithm is not allowed"):
        validate_jwt(with_header(_made(), {"alg": alg, "kid": "ES256"}), "db", {}, now=_NOW)


@pytest.mark.parametrize(
    ("kid", "says"),
    [(None, "does not name its key"), ("", "does not name its key"), ("nobody", "no such JWT-SVID key")],
)
def test_1_3_4_a_token_names_a_key_that_is_known(kid: str | None, says: str) -> None:
    """Ours always do."""
    assert parts(_TOKEN)[0]["kid"] == _AUTHORITY.current.jwt.kid
    _refused(_made({"kid": kid}), says)


@pytest.mark.parametrize("typ", ["wit+jwt", "jwt", "at+jwt", ""])
def test_1_3_5_the_type_is_jwt_or_jose(typ: str) -> None:
    """Or is not there; a WIT-SVID is of another."""
    for good in ("JWT", "JOSE", None):
        assert _accepted(_made({"typ": good})).spiffe_id == _TRAINER
    _refused(_made({"typ": typ}), "another type")


@pytest.mark.parametrize(
    "sub", [None, 5, "trainer", "https://example.org/a", "spiffe://Example.org/a", "spiffe://example.org"]
)
def test_1_3_6_the_subject_is_a_workloads_id(sub: object) -> None:
    """As ours is."""
    assert parts(_TOKEN)[1]["sub"] == str(_TRAINER)
    _refused(_made(claims={"sub": sub}), "subject")


@pytest.mark.parametrize("aud", [None, [], {}, ["db", 5], ["registry"], "registry", "registry,db"])
def test_1_3_7_a_token_is_for_its_audience(aud: object) -> None:
    """Missing, of no known form, or another: refused. Ours is a list; a string is read as well."""
    assert parts(_TOKEN)[1]["aud"] == ["db"]
    assert _accepted(_made(claims={"aud": "db"})).audience == ("db",)
    _refused(_made(claims={"aud": aud}), "for whom|another audience")


def test_1_3_7_the_spiffe_package_refuses_what_we_refuse() -> None:
    """Another audience, and another authority's bundle."""
    theirs = TheirTrustDomain("example.org")
    with pytest.raises(JwtSvidError):
        JwtSvid.parse_and_validate(_TOKEN, JwtBundle.parse(theirs, _AUTHORITY.bundle(1).jwks()), {"registry"})
    other = Authority.create(_TD, MemoryKeys(), now=_NOW)
    with pytest.raises(Exception, match=r"(?i)authority|key|found"):
        JwtSvid.parse_and_validate(_TOKEN, JwtBundle.parse(theirs, other.bundle(1).jwks()), {"db"})


@pytest.mark.parametrize("exp", [None, "tomorrow", True, 0])
def test_1_3_8_a_token_ends_and_has_not_yet(exp: object) -> None:
    """Within seconds of leeway."""
    assert isinstance(parts(_TOKEN)[1]["exp"], int)
    assert timedelta(0) < LEEWAY <= timedelta(minutes=1)
    assert _accepted(_made(claims={"exp": int((_NOW - LEEWAY / 2).timestamp())})).spiffe_id == _TRAINER
    _refused(_made(claims={"exp": int((_NOW - LEEWAY).timestamp())}), "expired")
    _refused(_made(claims={"exp": exp}), "expired|no time")


async def test_1_3_9_our_client_sends_a_token_as_bearer(tmp_path: Path) -> None:
    """In gRPC metadata `authorization`, over TLS: what a server gets from `--token-file`."""
    site, root = web_server("localhost")
    (tmp_path / "token").write_text(_TOKEN + "\n")
    (tmp_path / "roots.pem").write_bytes(root)
    seen: list[str] = []

    async def answer(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        seen.extend(str(value) for name, value in context.invocation_metadata() or () if name == "authorization")
        return b""

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler("t", {"Ask": grpc.unary_unary_rpc_method_handler(answer)})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(site.key, site.chain)]))
    await server.start()
    remote = Remote(f"localhost:{port}", token=tmp_path / "token", bundle=tmp_path / "roots.pem")
    async with grpc.aio.secure_channel(remote.address, await remote.credentials()) as channel:
        await channel.unary_unary("/t/Ask")(b"", timeout=30)
    await server.stop(None)
    assert seen == [f"Bearer {_TOKEN}"]


def test_1_3_10_the_spiffe_package_accepts_token_and_bundle() -> None:
    """Parsed, verified and read by py-spiffe, with the JWT bundle that the Workload API carries."""
    bundle = JwtBundle.parse(TheirTrustDomain("example.org"), _AUTHORITY.bundle(1).jwks())
    svid = JwtSvid.parse_and_validate(_TOKEN, bundle, {"db"})
    assert str(svid.spiffe_id) == str(_TRAINER)


@pytest.mark.parametrize("use", ["x509-svid", "wit-svid", "sig", None])
def test_1_3_10_keys_of_another_use_validate_nothing(use: str | None) -> None:
    """The very key that signed it, published for something else."""
    document = json.loads(_AUTHORITY.bundle(1).to_json())
    for jwk in document["keys"]:
        if jwk["use"] == "jwt-svid":
            jwk["use"] = use
    bundle = SpiffeBundle.parse(_TD, json.dumps(document).encode())
    with pytest.raises(RingfenceError, match="no such JWT-SVID key"):
        validate_jwt(_TOKEN, "db", {_TD: bundle}, now=_NOW)


def test_1_3_11_only_the_subjects_own_domain_vouches() -> None:
    """A trusted domain that signs a subject of ours, under a kid of ours, is refused; so is a domain without bundle."""
    theirs = Authority.create(_OTHER, MemoryKeys(), now=_NOW)
    ours = SpiffeBundle(_TD, jwt_authorities={"ES256": theirs.current.jwt.public_key})
    stolen = {_TD: ours, _OTHER: SpiffeBundle(_OTHER, jwt_authorities=foreign.AUTHORITIES)}
    with pytest.raises(RingfenceError, match="does not verify"):
        validate_jwt(_made(), "db", stolen, now=_NOW)
    with pytest.raises(RingfenceError, match="not trusted here"):
        validate_jwt(_made(), "db", {_OTHER: stolen[_OTHER]}, now=_NOW)


def test_1_3_12_a_jti_may_be_there_and_is_not_tracked() -> None:
    """The same token is accepted as often as it is shown."""
    token = _made(claims={"jti": "once"})
    assert [_accepted(token).claims["jti"] for _ in range(2)] == ["once", "once"]
