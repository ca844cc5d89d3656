"""Which entries a set of selectors matches, and who is told when that changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.entries import EntryBook
from ringfence.broker.agent.entry import Entry, unique_hints
from ringfence.certs.selectors import Selector

UID = Selector("unix", "uid:1")
GID = Selector("unix", "gid:2")
PATH = Selector("unix", "path:/bin/x")
ALL = (UID, GID, PATH)


def _entry(entry_id: str, *selectors: Selector | str, name: str = "", created: int = 0, **fields: object) -> object:
    return agent_pb2.Entry(
        id=entry_id,
        spiffe_id=f"spiffe://example.org/{name or entry_id}",
        selectors=[str(selector) for selector in selectors],
        created_at=created,
        **fields,
    )


def _book(*entries: object, **fields: object) -> EntryBook:
    book = EntryBook()
    book.apply(agent_pb2.EntriesUpdate(revision=1, full=True, upserts=entries, **fields))
    return book


def _ids(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.id for entry in entries]


def test_all_selectors_of_an_entry_must_hold() -> None:
    """An entry matches a caller that has all of its selectors, and no caller that lacks one."""
    book = _book(_entry("a", UID, GID))
    assert _ids(book.matching({UID, GID, PATH})) == ["a"]
    assert _ids(book.matching({UID, PATH})) == []


def test_an_entry_without_selectors_is_nobodys() -> None:
    """An entry that asks for nothing would be everybody's: it is left out, and said so."""
    book = EntryBook()
    applied = book.apply(agent_pb2.EntriesUpdate(full=True, upserts=[_entry("a")]))
    assert book.matching({UID}) == ()
    assert applied.refused == ("a: it has no selectors",)


def test_an_entry_that_cannot_be_read_is_left_out() -> None:
    """A selector of a newer server costs that entry, not the update."""
    book = EntryBook()
    applied = book.apply(agent_pb2.EntriesUpdate(upserts=[_entry("a", "quantum:spin:up"), _entry("b", UID)]))
    assert _ids(book.matching({UID})) == ["b"]
    assert len(applied.refused) == 1


def test_the_oldest_comes_first_and_one_per_identity() -> None:
    """Order is by age, then id; alternatives of one workload are one identity."""
    book = _book(_entry("z", UID, created=1), _entry("a", UID, created=2), _entry("b", GID, name="a", created=3))
    assert _ids(book.matching({UID, GID})) == ["z", "a"]


def test_a_remembered_match_ends_with_the_next_change() -> None:
    """Callers that are alike are matched once, and anew after every update, however many kinds of them there are."""
    book = _book(_entry("a", UID))
    for number in range(3_000):
        assert _ids(book.matching({UID, Selector("unix", f"gid:{number}")})) == ["a"]
    assert len(book._matched) <= 1_024
    assert book.matching({UID}) is book.matching({UID})
    book.apply(agent_pb2.EntriesUpdate(revision=2, removed=["a"]))
    assert book.matching({UID}) == ()


def test_a_full_update_forgets_the_rest() -> None:
    """A full update replaces everything; a partial one adds and removes."""
    book = _book(_entry("a", UID), _entry("b", UID))
    book.apply(agent_pb2.EntriesUpdate(revision=2, removed=["a"], upserts=[_entry("c", UID)]))
    assert _ids(book.matching({UID})) == ["b", "c"]
    applied = book.apply(agent_pb2.EntriesUpdate(revision=3, full=True, upserts=[_entry("d", UID)]))
    assert _ids(book.matching({UID})) == ["d"]
    assert applied.removed == {"b", "c"}


def test_a_changed_name_makes_the_svid_outdated() -> None:
    """An SVID is made anew when the entry says another ID, DNS name or ttl; a hint changes no certificate."""
    book = _book(_entry("a", UID), _entry("b", UID))
    changed = [_entry("a", UID, dns_names=["x.example"]), _entry("b", UID, hint="internal")]
    assert book.apply(agent_pb2.EntriesUpdate(upserts=changed)).outdated == {"a"}


def test_what_is_wanted_comes_from_entries_and_rules() -> None:
    """Costly facts are looked for only when an entry or a launch rule names them."""
    rule = agent_pb2.LaunchRule(
        namespace="n",
        name="w",
        by=[agent_pb2.SelectorSet(selectors=["unix:sha256:" + "00" * 32]), agent_pb2.SelectorSet()],
    )
    book = _book(_entry("a", UID), launch_changed=True, launch_rules=[rule])
    assert book.wanted == {"unix:uid", "unix:sha256"}


def test_a_rule_allows_whom_one_alternative_names() -> None:
    """A launch rule needs all selectors of one alternative; an empty alternative allows nobody."""
    rule = agent_pb2.LaunchRule(
        namespace="n",
        name="w",
        by=[agent_pb2.SelectorSet(selectors=[str(UID), str(GID)]), agent_pb2.SelectorSet()],
    )
    found = _book(launch_changed=True, launch_rules=[rule]).rule("n", "w")
    assert found is not None
    assert found.allows(frozenset({UID, GID, PATH}))
    assert not found.allows(frozenset({UID}))
    assert not found.allows(frozenset())


def test_a_launch_rule_of_a_job_is_kept_as_such() -> None:
    """An agent that restarts without its server demands a rank as before."""
    rule = agent_pb2.LaunchRule(namespace="n", name="w", job="llm", by=[agent_pb2.SelectorSet(selectors=[str(UID)])])
    kept = _book(launch_changed=True, launch_rules=[rule]).as_update()
    book = EntryBook()
    book.apply(kept)
    found = book.rule("n", "w")
    assert found is not None
    assert found.job == "llm"


def test_a_shared_hint_stays_with_the_oldest() -> None:
    """Of several entries with one hint the first keeps it; an empty hint is nobody's."""
    entries = _book(
        _entry("a", UID, hint="x", created=1), _entry("b", UID, hint="x", created=2), _entry("c", UID, created=3)
    ).matching({UID})
    assert [hint for _, hint in unique_hints(entries)] == ["x", "", ""]


_SETS = st.sets(st.sampled_from(ALL), min_size=1)


@given(st.lists(st.tuples(st.integers(0, 5), _SETS, st.booleans()), max_size=30), _SETS)
def test_the_index_finds_what_a_scan_finds(changes: list[tuple[int, set[Selector], bool]], have: set[Selector]) -> None:
    """After any history of changes the indexed match equals the plain one, and a book read back equals the book."""
    book, plain = EntryBook(), dict[str, set[Selector]]()
    for number, selectors, remove in changes:
        entry_id = f"e{number}"
        if remove:
            plain.pop(entry_id, None)
            book.apply(agent_pb2.EntriesUpdate(removed=[entry_id]))
        else:
            plain[entry_id] = selectors
            book.apply(agent_pb2.EntriesUpdate(upserts=[_entry(entry_id, *selectors)]))
    expected = sorted(entry_id for entry_id, selectors in plain.items() if selectors <= have)
    assert _ids(book.matching(have)) == expected
    again = EntryBook()
    again.apply(book.as_update())
    assert again.matching(have) == book.matching(have)


def _rule(template: str = "/u/{unix.uid}", *selectors: Selector, **fields: object) -> object:
    texts = [str(selector) for selector in selectors]
    return agent_pb2.Entry(id="r", spiffe_id="spiffe://example.org", template=template, selectors=texts, **fields)


def test_a_rule_gives_each_caller_an_instance() -> None:
    """Named after the facts found of it, under an id that the server can check; known again by that id alone."""
    book = _book(_rule("/u/{unix.uid}", GID))
    [made] = book.matching({UID, GID})
    assert (made.id, str(made.spiffe_id)) == ("r#/u/1", "spiffe://example.org/u/1")
    assert made.selectors == {UID, GID}
    assert book.get("r#/u/1") == made
    assert book.matching({UID}) == ()
    assert book.wanted == {"unix:uid", "unix:gid"}


def test_a_rule_gives_nothing_when_its_template_is_not_filled() -> None:
    """No value, two values, or a value that is no path segment: no identity, never half of one."""
    book = _book(_rule("/user/{unix.user}"))
    for names in ((), ("a", "b"), ("a/b",), ("..",)):
        assert book.matching({UID, *(Selector("unix", f"user:{name}") for name in names)}) == ()
    assert [e.id for e in book.matching({UID, Selector("unix", "user:a")})] == ["r#/user/a"]


def test_an_id_that_no_rule_makes_is_nobodys() -> None:
    """Neither of another path, nor behind an entry that is no rule."""
    book = _book(_rule(), _entry("a", UID))
    assert [book.get(entry_id) for entry_id in ("r#/x/1", "r#", "r#/u/1/2", "a#/a", "none#/u/1")] == [None] * 5


def test_a_rule_survives_the_disk() -> None:
    """What is kept is what was told."""
    book = _book(_rule("/u/{unix.uid}", expires_at=7))
    again = EntryBook()
    again.apply(book.as_update())
    assert again.get("r") == book.get("r")
    assert again.matching({UID}) == book.matching({UID})


def test_a_template_that_cannot_be_read_costs_that_rule() -> None:
    """A placeholder of a newer server's attestor."""
    book = EntryBook()
    applied = book.apply(agent_pb2.EntriesUpdate(upserts=[_rule("/q/{quantum.spin}"), _entry("a", UID)]))
    assert _ids(book.matching({UID})) == ["a"]
    assert len(applied.refused) == 1


def test_the_book_knows_what_ends_and_when() -> None:
    """As it changes."""
    book = _book(_entry("a", UID, expires_at=50), _entry("b", UID, expires_at=60), _entry("c", UID))
    assert (book.next_end(), book.ended(49), book.ended(50)) == (50, (), ("a",))
    book.apply(agent_pb2.EntriesUpdate(upserts=[_entry("a", UID, expires_at=70)], removed=["b"]))
    assert (book.next_end(), book.ended(69)) == (70, ())
    book.apply(agent_pb2.EntriesUpdate(removed=["a"]))
    assert book.next_end() is None


def test_facts_are_wanted_for_as_long_as_an_entry_asks() -> None:
    """Two that ask for the same, one of them gone: still wanted."""
    book = _book(_entry("a", UID), _entry("b", UID, GID))
    book.apply(agent_pb2.EntriesUpdate(removed=["b"]))
    assert book.wanted == {"unix:uid"}
    book.apply(agent_pb2.EntriesUpdate(removed=["a"]))
    assert book.wanted == frozenset()
