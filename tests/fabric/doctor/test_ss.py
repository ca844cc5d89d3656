"""Sockets with owners and figures."""

from __future__ import annotations

from ringfence.fabric.doctor.ss import sockets
from tests.fabric.doctor import samples


def test_sockets():
    """Owner and figures belong to the socket above; IPv6 in brackets, with a zone, mapped."""
    listener, proxy, local, mapped = sockets(samples.SS, "s").found
    assert (listener.state, listener.local, listener.local_port, listener.owner) == ("LISTEN", "*", 29500, "python3")
    assert (proxy.line, proxy.owner, proxy.pid, proxy.uid) == (3, "envoy", 7, 1337)
    assert (proxy.rtt, proxy.mss, proxy.pmtu, proxy.retransmitted, proxy.sent) == (2.5, 1388, 1450, 17, 99)
    assert (local.local, local.interface, local.peer) == ("fe80::1", "fab0", "fe80::2")
    assert (mapped.peer, mapped.rtt, mapped.pmtu) == ("::ffff:10.91.0.3", 0.05, 9000)
