"""The table of calls: complete, closed, and what each role reaches by it."""

from __future__ import annotations

import click
import pytest

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.access.reads import ITEMS, LISTS
from ringfence.broker.access.requests import CHECKS
from ringfence.broker.access.rights import Rights, Role
from ringfence.broker.access.table import NEEDS, Need, Scope, allowed
from ringfence.broker.audit.calls import _READS
from ringfence.broker.cli.main import NOUNS, cli
from ringfence.proto.service import service_of

CALLS = sorted(service_of(admin_pb2, "Server").methods_by_name)
NOBODY, ADMIN = Rights(), Rights(admin=True)
EDITOR, VIEWER = Rights(edits=frozenset({"a"})), Rights(views=frozenset({"a"}))
OVERSEER = Rights(views_all=True)


def test_every_admin_call_is_in_the_table() -> None:
    """A call that is added without a row is nobody's: say here which role it takes."""
    assert sorted(NEEDS) == CALLS


def test_what_changes_something_is_no_viewers() -> None:
    """Calls are recorded as changes by their names; none of them is within a viewer's role."""
    changing = [name for name in CALLS if not name.startswith(_READS)]
    assert [name for name in changing if NEEDS[name].role is Role.VIEWER] == []


def test_every_call_that_a_namespace_may_read_is_cut_or_of_no_namespace() -> None:
    """A list that a viewer of one namespace gets is cut to it; what is not cut says nothing of namespaces."""
    open_reads = {name for name, need in NEEDS.items() if need.role is Role.VIEWER and need.scope is Scope.NAMESPACE}
    cut = {*LISTS, *ITEMS}
    counted_by_its_handler = {"CountEntries"}
    assert open_reads - cut - counted_by_its_handler == {"Info", "ShowBundle"}
    for name, fields in LISTS.items():
        answer = service_of(admin_pb2, "Server").methods_by_name[name].output_type
        assert all(answer.fields_by_name[field].is_repeated for field in fields), name


def test_every_call_that_an_editor_may_make_looks_at_what_it_changes() -> None:
    """In its handler or before it: a row for editors without such a look would open everybody's."""
    of_editors = {name for name, need in NEEDS.items() if need.role is Role.EDITOR}
    looked_at_by_handlers = {"CreateEntries", "UpdateEntries", "DeleteEntries", "ApplyEntries", "ApplyPolicy"}
    assert of_editors == looked_at_by_handlers | (set(CHECKS) - {"CheckAuthz"})


@pytest.mark.parametrize(
    ("need", "who"),
    [
        (Need(Role.VIEWER, Scope.NONE, ""), {"nobody", "viewer", "editor", "overseer", "admin"}),
        (Need(Role.VIEWER, Scope.NAMESPACE, ""), {"viewer", "editor", "overseer", "admin"}),
        (Need(Role.VIEWER, Scope.CLUSTER, ""), {"overseer", "admin"}),
        (Need(Role.EDITOR, Scope.NAMESPACE, ""), {"editor", "admin"}),
        (Need(Role.EDITOR, Scope.CLUSTER, ""), {"admin"}),
        (Need(Role.ADMIN, Scope.CLUSTER, ""), {"admin"}),
        (Need(Role.ADMIN, Scope.NAMESPACE, ""), {"admin"}),
    ],
)
def test_who_is_heard(need: Need, who: set[str]) -> None:
    """By role and reach; an editor reads its namespaces, and no sum of roles short of admin is an admin's."""
    everybody = {"nobody": NOBODY, "viewer": VIEWER, "editor": EDITOR, "overseer": OVERSEER, "admin": ADMIN}
    assert {name for name, rights in everybody.items() if allowed(need, rights)} == who
    everything_but = Rights(edits=frozenset({"a", "b"}), views=frozenset({"c"}), views_all=True)
    assert allowed(need, everything_but) == (need.role is not Role.ADMIN and who != {"admin"})


def test_every_command_of_the_table_exists() -> None:
    """The table names commands for the documentation."""
    context = click.Context(cli)
    for need in NEEDS.values():
        for text in need.commands:
            noun, *rest = text.split()
            assert noun in NOUNS, text
            found = cli.get_command(context, noun)
            for word in rest:
                assert isinstance(found, click.Group), text
                found = found.commands.get(word)
            assert found is not None, text


# Those that have nothing to try: a token that is not made, a fetch that is the change itself.
NOTHING_TO_TRY = {"token generate", "federation refresh", "server rotate"}


def test_what_changes_something_can_be_tried_first() -> None:
    """Each such command has --dry-run, but for those that are named here."""
    context = click.Context(cli)
    lacking = set()
    for need in NEEDS.values():
        for text in need.commands if need.role is not Role.VIEWER else ():
            found: click.Command | None = cli.get_command(context, text.split()[0])
            for word in text.split()[1:]:
                assert isinstance(found, click.Group)
                found = found.commands[word]
            assert found is not None
            if not any("--dry-run" in parameter.opts for parameter in found.params):
                lacking.add(text)
    assert lacking == NOTHING_TO_TRY
