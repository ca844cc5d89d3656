"""`ringfence federation`, and `ringfence bundle` of other trust domains."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ringfence.broker.address import Address
from ringfence.broker.config import Web
from ringfence.certs.spiffe_id import TrustDomain
from tests.broker.cli.operator import ringfence
from tests.broker.federation.endpoint import THEIRS, authority
from tests.broker.server.harness import running_server

pytestmark = pytest.mark.e2e


async def test_two_servers_federate_by_what_one_prints(tmp_path: Path) -> None:
    """Bundle show over there, federation create here; listed, shown, refreshed, ended."""
    (tmp_path / "there").mkdir()
    web = Web(Address("127.0.0.1", 0))
    async with (
        running_server(tmp_path) as here,
        running_server(tmp_path / "there", trust_domain=TrustDomain("b.test"), bundle_endpoint=web) as there,
    ):
        assert there.running is not None
        where, url = ("--data-dir", here.data_dir), f"https://{there.running.bundle_endpoint}/"
        printed = await ringfence("bundle", "show", "--format", "spiffe", "--data-dir", there.data_dir)
        file = tmp_path / "b.json"
        await asyncio.to_thread(file.write_text, printed.out)
        profile = ("--profile", "https_spiffe", "--endpoint-id", "spiffe://b.test/ringfence/server")
        command = ("federation", "create", "b.test", "--url", url, *profile, *where, "-o", "json")
        without = await ringfence(*command)
        assert (without.code, "--bootstrap-bundle" in without.err) == (4, True)
        tried = await ringfence(*command, "--bootstrap-bundle", file, "--dry-run")
        assert (tried.json["action"], tried.json["createdAt"], tried.json["nextAt"]) == ("created", "", "")
        assert (await ringfence("federation", "show", "b.test", *where)).code == 1
        made = await ringfence(*command, "--bootstrap-bundle", file)
        assert (made.code, made.json["action"]) == (0, "created")
        again = await ringfence(*command, "--bootstrap-bundle", file)
        assert again.json["action"] == "unchanged"
        fetched = await ringfence("federation", "refresh", "b.test", *where, "-o", "json")
        assert fetched.json["refreshedAt"]
        assert (fetched.json["sequence"], fetched.json["failure"]) == (there.parts.trust.bundle.sequence, "")
        listed = await ringfence("federation", "list", *where, "-o", "name")
        assert listed.out == "b.test\n"
        shown = await ringfence("federation", "show", "b.test", *where, "-o", "json")
        assert shown.json["url"] == url
        pem = await ringfence("bundle", "show", "b.test", *where)
        assert pem.out.encode() == there.bundle_pem
        kept = await ringfence("bundle", "delete", "b.test", *where)
        assert kept.code != 0
        tried = await ringfence("federation", "delete", "b.test", "--dry-run", *where, "-o", "json")
        assert tried.json["action"] == "deleted"
        assert (await ringfence("federation", "show", "b.test", *where)).code == 0
        ended = await ringfence("federation", "delete", "b.test", *where, "-o", "json")
        assert ended.json["action"] == "deleted"
        assert (await ringfence("federation", "show", "b.test", *where)).code == 1
        assert (await ringfence("federation", "refresh", "b.test", *where)).code == 1
        assert json.loads((await ringfence("bundle", "list", *where, "-o", "json")).out)["items"] == []


async def test_bundles_are_kept_by_hand(tmp_path: Path) -> None:
    """Set, listed with how many entries ask for it, and deleted once none does, or by force."""
    file = tmp_path / "b.json"
    await asyncio.to_thread(file.write_bytes, authority().bundle(7).to_json())
    async with running_server(tmp_path) as server:
        where = ("--data-dir", server.data_dir)
        for action in ("created", "unchanged"):
            tried = await ringfence("bundle", "set", "b.test", file, *where, "--dry-run", "-o", "json")
            done = await ringfence("bundle", "set", "b.test", file, *where, "-o", "json")
            assert (tried.json["action"], done.code, done.json["action"]) == (action, 0, action)
        await server.create_entry("spiffe://example.org/w", "unix:uid:1", federates_with=[THEIRS.name])
        [row] = (await ringfence("bundle", "list", *where, "-o", "json")).json["items"]
        assert (row["trustDomain"], row["sequence"], row["entries"]) == ("b.test", 7, 1)
        refused = await ringfence("bundle", "delete", "b.test", *where)
        assert (refused.code, "1 entry federates" in refused.err) == (1, True)
        apart = await ringfence("bundle", "delete", "b.test", "--mode", "delete", "--dry-run", *where, "-o", "json")
        assert (apart.json["action"], apart.json["entries"]) == ("deleted", 1)
        forced = await ringfence("bundle", "delete", "b.test", "--force", *where, "-o", "json")
        assert forced.json["action"] == "deleted"
        gone = await ringfence("bundle", "delete", "b.test", *where, "-o", "json")
        assert gone.code != 0 or gone.json["action"] == "unchanged"
        assert (await ringfence("bundle", "show", "b.test", *where)).code == 1
        own = await ringfence("bundle", "set", "example.org", file, *where)
        assert own.code == 4
        assert (await ringfence("bundle", "set", "b.test", tmp_path / "missing", *where)).code == 4


async def test_relations_without_what_they_need_are_refused(tmp_path: Path) -> None:
    """In words, as invalid input."""
    async with running_server(tmp_path) as server:
        where = ("--data-dir", server.data_dir)
        for arguments in (
            ("b.test", "--url", "http://b.test/", "--profile", "https_web"),
            ("example.org", "--url", "https://b.test/", "--profile", "https_web"),
            ("B.test", "--url", "https://b.test/", "--profile", "https_web"),
            ("b.test", "--url", "https://b.test/", "--profile", "https_spiffe"),
        ):
            done = await ringfence("federation", "create", *arguments, *where)
            assert (done.code, done.out) == (4, "")
            assert done.err
