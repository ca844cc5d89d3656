"""What relays and a proxy tell each other of a range: which number a connection is for, and nothing is guessed."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from ringfence.broker.run.isolate_range import announced, asked
from ringfence.broker.run.isolate_relay import Dial, Relays
from tests.broker.run.test_isolate_relay import PATIENCE, fresh

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
NUMBERS = range(10002, 10006)
IPV4 = bytes(12)


def told(*values: tuple[int, bytes]) -> bytes:
    """What stands behind the addresses of a head."""
    return b"".join(bytes((kind,)) + len(value).to_bytes(2, "big") + value for kind, value in values)


def head(rest: bytes, family: int = 0x11, version: int = 0x21, signature: bytes = SIGNATURE) -> bytes:
    """A head of PROXY protocol, version 2."""
    return signature + bytes((version, family)) + len(rest).to_bytes(2, "big") + rest


async def passed(folder: Path, said: bytes) -> bytes:
    """What comes back through a relay for *said*, from an application that answers with its number and what it got."""
    relays, near, dialled = Relays(), folder / "near", []

    def dial_to(number: int) -> Dial:
        dialled.append(number)
        return lambda: fresh(folder / "far")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d %s" % (dialled[0], await reader.read()))
        writer.close()

    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(near))
    relays.start(listening, dial_to(0), asked(NUMBERS, dial_to))
    dialled.clear()
    async with asyncio.timeout(PATIENCE), await asyncio.start_unix_server(serve, folder / "far"):
        reader, writer = await asyncio.open_unix_connection(near)
        try:
            writer.write(said)
            writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()
            await relays.close()


@pytest.mark.parametrize(
    "said",
    [
        head(IPV4 + told((0xE0, b"10002"))),
        head(bytes(36) + told((0xE0, b"10002")), family=0x21),
        head(bytes(216) + told((0x02, b"10003"), (0xE0, b"10002")), family=0x31),
    ],
)
async def test_a_proxy_says_which_number_it_means(tmp_path: Path, said: bytes) -> None:
    """In a head, and what follows it is the application's, to the last byte."""
    assert await passed(tmp_path, said + b"hello") == b"10002 hello"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"hello, hello, hello, hello",
        head(IPV4),
        head(IPV4 + told((0xE0, b"10006"))),
        head(IPV4 + told((0xE0, b"22"))),
        head(IPV4 + told((0xE0, b""))),
        head(IPV4 + told((0xE0, b"+10002"))),
        head(IPV4 + told((0xE0, b"0x2712"))),
        head(IPV4 + told((0xE0, b"000000000010002"))),
        head(IPV4 + told((0xE1, b"10002"))),
        head(IPV4 + told((0xE0, b"10002"))[:-1] + b"\0"),
        head(IPV4 + told((0xE0, b"10002")), version=0x20),
        head(IPV4 + told((0xE0, b"10002")), version=0x11),
        head(IPV4 + told((0xE0, b"10002")), family=0x12),
        head(IPV4 + told((0xE0, b"10002")), signature=b"\r\n\r\n\0\r\nQUIT\r"),
        head(IPV4 + told((0xE1, bytes(5000)), (0xE0, b"10002"))),
        head(IPV4 + told((0xE0, b"10002")))[:-1],
    ],
)
async def test_what_says_no_number_of_the_range_leads_nowhere(tmp_path: Path, said: bytes) -> None:
    """A head that is none, another version, family or command, another number, or one that is cut short."""
    assert await passed(tmp_path, said) == b""


async def test_a_proxy_is_told_where_its_client_has_connected_to(tmp_path: Path) -> None:
    """Before the first byte of the client, in a line."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "far"))
        listening.listen()
        far = await announced(lambda: fresh(tmp_path / "far"), "127.77.1.2", 10004)()
        with far, listening.accept()[0] as heard:
            assert heard.recv(100) == b"PROXY TCP4 127.0.0.1 127.77.1.2 1 10004\r\n"
