"""Keys of token issuers over time: rotated without an apply, kept while nobody answers, and for no longer than said."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ringfence.broker.token_keys import AGAIN, EVERY, TokenKeys
from ringfence.policy.model import Origin
from ringfence.policy.tokens import KeySource, TokenIssuer
from tests.policy.test_tokens import ec_key

SOURCE = KeySource("https://login.example/keys", "", timedelta(hours=1))
START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def issuer(source: KeySource | None = SOURCE, name: str = "corp") -> TokenIssuer:
    """One whose keys are fetched."""
    return TokenIssuer("shared", name, "https://login.example", ("models",), "", Origin("x.yaml", 1), source)


class World:
    """A clock, what the issuer answers, and how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.answer: bytes | Exception = OSError(113, "No route to host")
        self.asked = 0
        self.path = folder / "keys.json"
        self.keys = TokenKeys(self.path, lambda: self.now, self.get)

    def get(self, _source: KeySource) -> bytes:
        """What is fetched."""
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def after(self, seconds: float) -> dict[str, str]:
        """What is believed once that much time has passed and what was due was fetched."""
        self.now += timedelta(seconds=seconds)
        await self.keys.look()
        return self.keys.current()


def key_set(*kids: str) -> bytes:
    """A set with new keys of those ids."""
    return json.dumps({"keys": [{**ec_key(), "kid": kid} for kid in kids]}).encode()


def kids(current: dict[str, str]) -> list[str]:
    """The ids of the keys of corp."""
    return [key["kid"] for key in json.loads(current["shared/corp"])["keys"]]


async def test_a_new_key_is_taken_without_an_apply(tmp_path: Path) -> None:
    """And one that is gone is gone, within a minute; in between nobody is asked."""
    world = World(tmp_path)
    world.answer = key_set("1")
    world.keys.want([issuer()])
    assert kids(await world.after(0)) == ["1"]
    world.answer = key_set("2")
    assert kids(await world.after(EVERY / 2)) == ["1"]
    assert kids(await world.after(EVERY)) == ["2"]
    assert world.asked == 2


async def test_the_last_good_keys_hold_while_nobody_answers_and_no_longer_than_said(tmp_path: Path) -> None:
    """From then on there is no key, so that no token is valid; one answer, and there is again."""
    world = World(tmp_path)
    world.answer = key_set("1")
    world.keys.want([issuer()])
    await world.after(0)
    for failure in (TimeoutError(), ValueError("it answers with HTTP status 503")):
        world.answer = failure
        assert kids(await world.after(EVERY)) == ["1"]
    assert kids(await world.after(3600 - 2 * EVERY - 1)) == ["1"]
    assert await world.after(1) == {}
    world.answer = key_set("2")
    assert kids(await world.after(AGAIN)) == ["2"]


async def test_what_is_no_key_set_changes_nothing(tmp_path: Path) -> None:
    """Nor does a set of which no key can verify; of others the usable ones are taken."""
    world = World(tmp_path)
    world.answer = key_set("1")
    world.keys.want([issuer()])
    await world.after(0)
    secret = {**ec_key(), "d": "AQAB"}
    for answer in (b"<html>", b"\xff", b"[]", b'{"keys": []}', b"[" * 100_000, json.dumps({"keys": [secret]}).encode()):
        world.answer = answer
        assert kids(await world.after(EVERY)) == ["1"], answer
    found = json.loads(key_set("2"))["keys"]
    world.answer = json.dumps({"keys": [secret, {"kty": "oct", "k": "AA"}, {"kty": "new"}, *found]}).encode()
    assert kids(await world.after(EVERY)) == ["2"]


async def test_an_issuer_that_fails_is_asked_again_soon_but_not_at_once(tmp_path: Path) -> None:
    """A made-up storm of failures costs it one question every ten seconds."""
    world = World(tmp_path)
    world.keys.want([issuer()])
    await world.after(0)
    await world.after(AGAIN / 2)
    assert world.asked == 1
    await world.after(AGAIN)
    assert world.asked == 2


async def test_keys_outlive_a_restart_and_not_their_age(tmp_path: Path) -> None:
    """A server that starts while the issuer is away goes on with what it had."""
    world = World(tmp_path)
    world.answer = key_set("1")
    world.keys.want([issuer()])
    await world.after(0)
    again = TokenKeys(world.path, lambda: world.now, world.get)
    await again.load()
    again.want([issuer()])
    assert kids(again.current()) == ["1"]
    assert oct(world.path.stat().st_mode & 0o777) == "0o600"
    for moved in (timedelta(hours=1), timedelta(hours=-1)):  # a clock that was set back makes no key younger
        world.now = START + moved
        assert again.current() == {}


async def test_a_kept_file_that_cannot_be_read_is_as_if_there_were_none(tmp_path: Path) -> None:
    """It is written anew with the next keys."""
    world = World(tmp_path)
    for text in (b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"jwks": "x", "at": 1}}', b'{"a": {"jwks": 1, "at": "x"}}'):
        world.path.write_bytes(text)
        await world.keys.load()
    world.answer = key_set("1")
    world.keys.want([issuer()])
    assert kids(await world.after(0)) == ["1"]


async def test_keys_under_another_trust_are_other_keys(tmp_path: Path) -> None:
    """Whoever changes the authority of a URL does not go on with what the old one vouched for."""
    world = World(tmp_path)
    world.answer = key_set("1")
    world.keys.want([issuer()])
    await world.after(0)
    world.keys.want([issuer(KeySource(SOURCE.uri, "another", SOURCE.max_age))])
    assert world.keys.current() == {}


async def test_whoever_follows_is_told_of_new_keys_and_of_their_end(tmp_path: Path) -> None:
    """By the bell: first when keys are there, then when they are too old."""
    world = World(tmp_path)
    world.answer = key_set("1")
    running = asyncio.create_task(world.keys.run())
    try:
        with world.keys.bell.listen() as told:
            world.keys.want([issuer()])
            async with asyncio.timeout(30):
                await told.wait()
            assert kids(world.keys.current()) == ["1"]
            told.clear()
            world.answer, world.now = OSError("gone"), START + timedelta(hours=2)
            world.keys.want([issuer()])
            async with asyncio.timeout(30):
                await told.wait()
            assert world.keys.current() == {}
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
