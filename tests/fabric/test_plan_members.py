"""What changes of a fabric's members: as little as it can be, and what nft makes of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.fabric.plan import Members, members_of
from ringfence.fabric.plan_members import delta
from ringfence.fabric.plan_nft import ruleset, set_of, table_of
from tests import parts
from tests.fabric.plans import planned, rail

NOW, JOB = 1000.0, "team-a/llama"
PLACE = "element inet ringfence-fabric/team-a/fab job4/team-a/llama"


def held(**jobs: Mapping[str, int]) -> tuple[Members, ...]:
    """The members of team-a's jobs."""
    return members_of(rail(), {f"team-a/{job}": ends for job, ends in jobs.items()})


def test_only_what_differs_is_said() -> None:
    """One member comes, one goes, one stays; and nothing at all where nothing changes."""
    before = held(llama={"10.91.0.1": 0, "10.91.0.2": 1060}, other={"10.91.0.9": 0})
    after = held(llama={"10.91.0.1": 0, "10.91.0.3": 1060}, other={"10.91.0.9": 0})
    assert delta("team-a/fab", before, after, NOW).splitlines() == [
        f"add {PLACE} {{ 10.91.0.2 timeout 1s, 10.91.0.3 timeout 1s }}",
        f"delete {PLACE} {{ 10.91.0.2, 10.91.0.3 }}",
        f"add {PLACE} {{ 10.91.0.3 timeout 60s }}",
    ]
    assert delta("team-a/fab", before, before, NOW) == ""


def test_a_member_gets_another_end_without_being_out_for_a_moment() -> None:
    """All within one transaction, which the kernel shows as a whole."""
    said = delta("team-a/fab", held(llama={"10.91.0.1": 1060}), held(llama={"10.91.0.1": 4600}), NOW)
    assert [line.split()[0] for line in said.splitlines()] == ["add", "delete", "add"]
    assert said.endswith("{ 10.91.0.1 timeout 3600s }\n")


ENDS = st.dictionaries(
    st.integers(1, 9).map(lambda host: f"10.91.0.{host}") | st.integers(1, 9).map(lambda host: f"fd91::{host:x}"),
    st.just(0) | st.integers(int(NOW) - 5, int(NOW) + 9000),
)


@settings(max_examples=25, deadline=None)
@given(ENDS, ENDS, st.booleans())
def test_nft_holds_the_new_members_whatever_it_held(
    before: dict[str, int],
    after: dict[str, int],
    dropped: bool,  # noqa: FBT001  # hypothesis takes no keywords
) -> None:
    """Those too that the kernel has dropped meanwhile; each with the end that it has now."""
    parts.root()
    nft, unshare = parts.program("nft", "nftables"), parts.program("unshare", "util-linux")
    table, had, has = table_of("team-a/fab"), held(llama=before), held(llama=after)
    gone = "".join(f"flush set {table} {set_of(JOB, version)}\n" for version in (4, 6)) if dropped else ""
    change = delta("team-a/fab", had, has, NOW)
    if dropped:
        after = {address: until for address, until in after.items() if before.get(address) != until}
    fed = (ruleset(planned(), now=NOW), _cleared(table), delta("team-a/fab", held(llama={}), had, NOW), gone, change)
    script = "".join(f"{nft} -f - <<'END'\n{text}END\n" for text in fed)
    script += "".join(f"{nft} -j list set {table} {set_of(JOB, version)}\n" for version in (4, 6))
    done = subprocess.run([unshare, "-n", "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), change
    ends = {address: until - int(NOW) if until else 0 for address, until in after.items()}
    found = dict(one for line in done.stdout.splitlines() for one in _listed(line))
    assert found == {address: seconds for address, seconds in ends.items() if seconds > 0 or not after[address]}


def _cleared(table: str) -> str:
    return "".join(f"flush set {table} {set_of(JOB, version)}\n" for version in (4, 6))


def _listed(text: str) -> list[tuple[str, int]]:
    """Each element with its timeout in seconds, 0 for none."""
    (found,) = (item["set"] for item in json.loads(text)["nftables"] if "set" in item)
    elements = (one["elem"] if isinstance(one, dict) else {"val": one} for one in found.get("elem", []))
    return [(one["val"], one.get("timeout", 0)) for one in elements]
