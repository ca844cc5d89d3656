"""One GET over HTTPS for what a document names: bounded in time and size, and never where no name may lead."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from ipaddress import ip_address
from urllib.parse import urlsplit

from ringfence.policy.forbidden import LOOPBACK_NETWORKS, METADATA_NETWORKS, address_of, as_ipv6_too

_HERE = "localhost"
_PORT = 443


def get(url: str, *, ca_pem: str, seconds: float, most: int) -> bytes:
    """The body of a 200 answer; raises OSError, HTTPException or ValueError. It blocks, at most twice *seconds*.

    *ca_pem* is whom to trust, the system's trust store where it is empty; *most* is how many bytes are read.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    # 1. Only HTTPS, whatever the document's own check was.
    if parts.scheme != "https" or not host:
        raise ValueError("it is no https URL")
    end = time.monotonic() + seconds
    connection = http.client.HTTPSConnection(host, parts.port or _PORT, timeout=seconds)
    # 2. The address is judged and then dialled: DNS is not asked again in between.
    connection.sock = _connected(host, parts.port or _PORT, ca_pem, seconds)
    try:
        connection.request(
            "GET", parts.path + (f"?{parts.query}" if parts.query else ""), headers={"host": parts.netloc}
        )
        answer = connection.getresponse()
        # 3. A redirect is no answer: it would lead where nobody has judged.
        if answer.status != http.HTTPStatus.OK:
            raise ValueError(f"it answers with HTTP status {answer.status}")
        return _body(answer, end, most)
    finally:
        connection.close()


def _connected(host: str, port: int, ca_pem: str, seconds: float) -> ssl.SSLSocket:
    context = ssl.create_default_context(cadata=ca_pem or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    raw = socket.create_connection((_judged(host, port), port), timeout=seconds)
    try:
        return context.wrap_socket(raw, server_hostname=host)
    except BaseException:
        raw.close()
        raise


def _judged(host: str, port: int) -> str:
    """The first address of *host*; raises ValueError where it, or another one, is none that a name may lead to."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    here = host == _HERE or address_of(host) is not None
    forbidden = as_ipv6_too((*METADATA_NETWORKS, *(() if here else LOOPBACK_NETWORKS)))
    for address in found:
        if any(ip_address(address.partition("%")[0]) in network for network in forbidden):
            raise ValueError(f"its name leads to {address}, where no document may lead")
    return found[0]


def _body(answer: http.client.HTTPResponse, end: float, most: int) -> bytes:
    body = b""
    while chunk := answer.read1(most):
        body += chunk
        if len(body) > most:
            raise ValueError(f"it has more than {most} bytes")
        if time.monotonic() > end:
            raise TimeoutError("it takes too long")
    return body
