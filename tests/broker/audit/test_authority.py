"""What a step of the authority is called in the audit log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringfence.broker.audit.authority import keys_of, published
from ringfence.certs.authority import Authority
from tests.certs.material import NOW, new_authority


def step_of(authority: Authority, change: Callable[[], object]) -> tuple[str, str]:
    """The action and the subject of *change*."""
    before = keys_of(authority)
    change()
    event = published(before, keys_of(authority), 2)
    return event.action, event.subject


def test_the_first_of_all_is_created() -> None:
    """Named by its X.509 authority."""
    authority, _ = new_authority(wit=True)
    event = published(None, keys_of(authority), 1)
    assert (event.action, event.subject) == ("authority.create", authority.x509.current.id)


def test_wit_keys_come_and_go_by_name() -> None:
    """With the feature, and without it again."""
    authority, _ = new_authority()
    action, subject = step_of(authority, lambda: authority.want_wit(NOW, wanted=True))
    assert (action, subject) == ("authority.create", authority.wit_key().kid)
    assert step_of(authority, lambda: authority.want_wit(NOW, wanted=False)) == ("authority.drop", subject)


@pytest.mark.parametrize("kind", ["x509", "jwt", "wit"])
def test_each_step_of_each_kind_is_named(kind: str) -> None:
    """With the authority that it was taken on."""
    authority, _ = new_authority(wit=True)
    line = authority.line(kind)
    first = line.current.id
    action, second = step_of(authority, lambda: authority.prepare(NOW, (kind,)))
    assert action == "authority.prepare"
    assert step_of(authority, lambda: line.activate(NOW)) == ("authority.activate", second)
    assert step_of(authority, line.taint) == ("authority.taint", first)
    assert step_of(authority, line.revoke) == ("authority.revoke", first)
    assert step_of(authority, lambda: None) == ("authority.publish", authority.x509.current.id)
