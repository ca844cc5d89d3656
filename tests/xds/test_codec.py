"""The codec writes what betterproto writes, byte for byte, and the same bytes every time."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.xds import codec
from ringfence.xds.schema import ROOTS

_DEPTH = 3
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(allow_nan=False, width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}


def value_of(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """Any value of a field that is no map."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return message_of(field.message_type, depth - 1)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return st.sampled_from([v.number for v in field.enum_type.values])
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return st.binary(max_size=9) if field.type == FieldDescriptor.TYPE_BYTES else st.text(max_size=9)
    return _SCALARS[field.cpp_type]


@st.composite
def message_of(draw: st.DrawFn, descriptor: Descriptor, depth: int = _DEPTH) -> Any:
    """Any message of a type, some levels deep, at most one field of each oneof."""
    made = codec.build(descriptor.full_name)
    if descriptor.full_name in {"google.protobuf.Duration", "google.protobuf.Timestamp"}:
        made.seconds = draw(st.integers(0, 10**6))  # betterproto reads them into datetime's types
        return made
    fields = [f for f in descriptor.fields if depth > 0 or f.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE]
    if not fields:
        return made
    for field in draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda f: f.number)):
        group = field.containing_oneof
        if group is not None and made.WhichOneof(group.name):
            continue
        _fill(draw, made, field, depth)
    return made


def _fill(draw: st.DrawFn, made: Any, field: FieldDescriptor, depth: int) -> None:
    entry = field.message_type.GetOptions().map_entry if field.message_type else False
    if entry:
        value = field.message_type.fields_by_name["value"]
        for key in sorted(draw(st.sets(st.text(max_size=4), max_size=3))):
            drawn = draw(value_of(value, depth))
            if field.message_type.fields_by_name["value"].message_type:
                getattr(made, field.name)[key].CopyFrom(drawn)
            else:
                getattr(made, field.name)[key] = drawn
    elif field.is_repeated:
        drawn = draw(st.lists(value_of(field, depth), max_size=3))
        # betterproto writes an empty message in a list as a field of number 1, whatever its number.
        getattr(made, field.name).extend(d for d in drawn if not hasattr(d, "ListFields") or d.ListFields())
    elif field.message_type:
        drawn = draw(value_of(field, depth))
        getattr(made, field.name).SetInParent()
        getattr(made, field.name).CopyFrom(drawn)
    else:
        setattr(made, field.name, draw(value_of(field, depth)))


@cache
def betterproto_class(full_name: str) -> Any:
    """The class of betterproto, writing fields in the order of their numbers as the format recommends."""
    import_module("envoy_data_plane." + full_name.rpartition(".")[0])
    pool = import_module("envoy_data_plane.message_pool").default_message_pool
    for cls in pool.type_to_url:
        meta = cls._betterproto
        meta.meta_by_field_name = dict(sorted(meta.meta_by_field_name.items(), key=lambda item: item[1].number))
    return pool.url_to_type[f"type.googleapis.com/{full_name}"]


_TRIED = (
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.config.rbac.v3.Action",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.service.discovery.v3.DiscoveryResponse",
    "xds.type.matcher.v3.Matcher",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("full_name", _TRIED)
def test_bytes_are_those_of_betterproto(full_name: str):
    """Any message that upb encodes, betterproto reads and writes back to the very same bytes."""
    assert set(_TRIED) <= set(ROOTS)

    @settings(max_examples=60)
    @given(message_of(codec.message(full_name).DESCRIPTOR))
    def check(made: Any) -> None:
        data = codec.encode(made)
        assert bytes(betterproto_class(full_name).parse(data)) == data

    check()


def test_map_order_does_not_reach_the_bytes():
    """Two equal messages filled in another order are the same bytes: versions are hashes of them."""
    name = "xds.type.matcher.v3.Matcher.MatcherTree.MatchMap"
    one = codec.build(name, map={"a": {"keep_matching": True}, "b": {}})
    two = codec.build(name, map={"b": {}, "a": {"keep_matching": True}})
    assert codec.encode(one) == codec.encode(two)


def test_a_resource_is_an_any_with_the_hash_of_its_bytes():
    """What a stream sends can be read back, and its version follows its content."""
    url, made = codec.resource("c", codec.build("envoy.config.cluster.v3.Cluster", name="c"))
    _, other = codec.resource("c", codec.build("envoy.config.cluster.v3.Cluster", name="c", type="EDS"))
    assert codec.unpack(made.any).name == "c"
    assert url.endswith("/envoy.config.cluster.v3.Cluster")
    assert made.version != other.version


def test_json_is_what_envoy_reads():
    """Field names as in the .proto files, durations as text, an Any by its real type."""
    cluster = codec.build(
        "envoy.config.cluster.v3.Cluster",
        connect_timeout=timedelta(seconds=1),
        typed_extension_protocol_options={
            "x": codec.packed("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={})
        },
    )
    read = json.loads(codec.to_json(cluster))
    assert read["connect_timeout"] == "1s"
    assert read["typed_extension_protocol_options"]["x"]["@type"].endswith("HttpProtocolOptions")


def test_an_unknown_message_is_a_key_error():
    """A typo in a name is found at once."""
    with pytest.raises(KeyError):
        codec.message("envoy.config.cluster.v3.Clutser")
