"""Selectors: spelled as SPIRE spells them, or refused."""

from __future__ import annotations

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("unix:uid:1000", "unix", "uid:1000"),
        ("unix:path:/bin/x:y", "unix", "path:/bin/x:y"),
        ("k8s:pod-label:app:web", "k8s", "pod-label:app:web"),
        ("k8s:pod-label:app:", "k8s", "pod-label:app:"),
        ("k8s:pod-owner-uid:Job:1-2", "k8s", "pod-owner-uid:Job:1-2"),
        ("k8s_psat:agent_node_label:topology.kubernetes.io/zone:a", "k8s_psat", None),
        ("launch:name:trainer", "launch", "name:trainer"),
        ("launch:rank:0", "launch", None),
        ("launch:rank:999999", "launch", None),
        ("tpm_devid:subject:cn:gpu-7", "tpm_devid", "subject:cn:gpu-7"),
        ("tpm_devid:issuer:cn:Operator", "tpm_devid", None),
        (f"tpm_devid:ca:fingerprint:{'ab' * 32}", "tpm_devid", None),
    ],
)
def test_a_selector_is_spelled_as_spire_spells_it(text: str, kind: str, value: str | None) -> None:
    """Kind, name and value; colons may stand in the value."""
    selector = Selector.parse(text)
    assert (selector.kind, selector.value, str(selector)) == (kind, value or text.partition(":")[2], text)


@pytest.mark.parametrize(
    "text",
    ["", "unix", "unix:", "unix:uid", "unix:uid:", "unix:uuid:1", "lxc:image:x", "UNIX:uid:1"]
    + [f"unix:uid:{value}" for value in ("root", "01", "-1", "1\n", "٣")]
    + ["unix:path:bin/x", "unix:sha256:AB", "unix:gid:1.0"]
    + ["k8s:pod-label:app", "k8s:pod-owner:Job", "k8s:pod-owner::x", "k8s:pod-image-count:two", "k8s:ns-label:a:b"]
    + [f"launch:rank:{value}" for value in ("00", "01", "1000000", "-1", "1a", "1 ")]
    + ["k8s_psat:agent_node_label:zone", "k8s_psat:node:x"]
    + ["tpm_devid:subject:gpu-7", "tpm_devid:issuer:o:x", f"tpm_devid:ca:fingerprint:{'ab' * 20}"],
)
def test_a_selector_that_no_attestor_makes_is_refused(text: str) -> None:
    """An entry that asks for it would never match: the error names what there is."""
    with pytest.raises(RingfenceError) as caught:
        Selector.parse(text)
    assert caught.value.kind is Kind.INVALID
    assert any(
        word in caught.value.hint
        for word in ("uid", "unix", "KEY:VALUE", "KIND:NAME", "a number", "agent_ns", "cn:NAME", "SHA-256")
    )


@pytest.mark.parametrize("text", ["unix:uid:1000", "unix:uid:root", "k8s:pod-label:app:web", "gone:with:it"])
def test_a_kept_selector_is_read_as_it_was_written(text: str) -> None:
    """A stricter program starts on what an older one registered; such a selector matches nobody, as before."""
    assert str(Selector.kept(text)) == text
