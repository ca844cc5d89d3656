"""The table `[access]`: what it gives, and every way in which it is refused."""

from __future__ import annotations

import getpass
import os
import tomllib
from pathlib import Path

import pytest

from ringfence.broker.access.access import AccessConfig, IssuerConfig
from ringfence.broker.access.config import access_of
from ringfence.broker.access.rights import Grant, Match, Role
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.access.callers import TD

ISSUER = '[[issuer]]\nurl = "https://idp.example.org"\naudience = "ringfence"\n'


def read(text: str) -> AccessConfig:
    """What the TOML says."""
    return access_of(tomllib.loads(text), TD)


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    """Each way to name somebody, each role, and an issuer with its own keys and roots."""
    keys, roots = tmp_path / "keys.json", tmp_path / "roots.pem"
    keys.touch()
    roots.touch()
    found = read(f"""
network = true
[[grant]]
role = "admin"
unix = {{user = "{getpass.getuser()}"}}
[[grant]]
role = "viewer"
unix.gid = 7
[[grant]]
role = "editor"
namespaces = ["team-a", "team-b"]
spiffe_id = "spiffe://example.org/ns/team-a/sa/deployer"
[[grant]]
role = "viewer"
namespaces = ["team-a"]
oidc = {{issuer = "https://idp.example.org", claims = {{groups = "team-a"}}}}
{ISSUER}
algorithms = ["EdDSA"]
keys = "{keys}"
roots = "{roots}"
""")
    teams = frozenset({"team-a", "team-b"})
    oidc = Match(issuer="https://idp.example.org", claims={"groups": "team-a"})
    assert found == AccessConfig(
        network=True,
        grants=(
            Grant(Role.ADMIN, Match(uid=os.getuid()), name="access.grant[0]"),
            Grant(Role.VIEWER, Match(gid=7), name="access.grant[1]"),
            Grant(Role.EDITOR, Match(spiffe_id=SpiffeId(TD, "/ns/team-a/sa/deployer")), teams, "access.grant[2]"),
            Grant(Role.VIEWER, oidc, frozenset({"team-a"}), "access.grant[3]"),
        ),
        issuers=(IssuerConfig("https://idp.example.org", "ringfence", ("EdDSA",), keys, roots),),
    )
    assert found.is_local_open
    assert read("") == AccessConfig()
    assert not read("").is_local_open


def test_the_sample_is_one_that_a_server_takes() -> None:
    """As it is in deploy/."""
    sample = Path(__file__).parents[3] / "deploy" / "config" / "access.toml"
    found = access_of(tomllib.loads(sample.read_text())["access"], TD)
    assert [grant.role for grant in found.grants] == [Role.VIEWER, Role.EDITOR, Role.ADMIN]


SVID = 'spiffe_id = "spiffe://example.org/ns/a/sa/x"'
GRANT = "network = true\n[[grant]]\n"


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("nonsense = 1", "access.nonsense", "no such setting"),
        ("[[grant]]\nrole = 'root'\nunix.uid = 1", "access.grant[0].role", "'admin', 'editor' or 'viewer'"),
        ("[[grant]]\nrole = 'admin'", "access.grant[0]", "exactly one of unix, spiffe_id and oidc"),
        (f"{GRANT}role = 'admin'\nunix.uid = 1\n{SVID}", "access.grant[0]", "exactly one"),
        (f"{GRANT}role = 'editor'\n{SVID}", "access.grant[0]", "an editor has namespaces"),
        (f"{GRANT}role = 'editor'\nnamespaces = []\n{SVID}", "access.grant[0].namespaces", "at least 1"),
        (f"{GRANT}role = 'editor'\nnamespaces = ['a/b']\n{SVID}", "access.grant[0].namespaces[0]", "pattern"),
        (f"{GRANT}role = 'admin'\nnamespaces = ['a']\n{SVID}", "access.grant[0]", "an admin has no namespaces"),
        ("[[grant]]\nrole = 'admin'\nunix = {}", "access.grant[0].unix", "give uid, gid or user"),
        ("[[grant]]\nrole = 'admin'\nunix = {uid = 1, user = 'root'}", "access.grant[0].unix", "not both"),
        ("[[grant]]\nrole = 'admin'\nunix.uid = true", "access.grant[0].unix.uid", "integer"),
        ("[[grant]]\nrole = 'admin'\nunix.user = 'no-such-user'", "access.grant[0]", "there is no user"),
        (f"[[grant]]\nrole = 'admin'\n{SVID}", "access.grant[0]", "the admin API is not on --listen"),
        (f"{GRANT}role = 'admin'\nspiffe_id = 'spiffe://b.org/x'", "access.grant[0]", "no workload of example.org"),
        (f"{GRANT}role = 'admin'\nspiffe_id = 'spiffe://example.org'", "access.grant[0]", "no workload"),
        (
            f"{GRANT}role = 'admin'\nspiffe_id = 'spiffe://example.org/ringfence/server'",
            "access.grant[0]",
            "no workload",
        ),
        (
            f"{GRANT}role = 'admin'\noidc = {{issuer = 'https://x', claims = {{a = 'b'}}}}",
            "access.grant[0]",
            "no [[acc",
        ),
        (
            f"{GRANT}role = 'admin'\noidc = {{issuer = 'https://x', claims = {{}}}}",
            "access.grant[0].oidc.claims",
            "at le",
        ),
        (ISSUER + ISSUER, "access.issuer", "given twice"),
        (ISSUER + "algorithms = ['HS256']", "access.issuer[0]", "HS256 is none of"),
        (ISSUER + "algorithms = ['none']", "access.issuer[0]", "none is none of"),
        (ISSUER + "keys = '/nowhere'", "access.issuer[0]", "/nowhere is no file"),
        ("[[issuer]]\nurl = 'http://idp.example.org'\naudience = 'x'", "access.issuer[0]", "no https URL"),
        ("[[issuer]]\nurl = 'https://idp.example.org'", "access.issuer[0].audience", "required"),
    ],
)
def test_what_would_not_do_what_it_says_is_refused(text: str, where: str, says: str) -> None:
    """At start, with the place in the file; never taken for less or for more."""
    with pytest.raises(RingfenceError) as caught:
        read(text)
    assert caught.value.kind is Kind.INVALID
    assert caught.value.where == where
    assert says in caught.value.detail
