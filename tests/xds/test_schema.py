"""The checked-in descriptor set is what the generator writes, and it says what the messages are."""

import subprocess
import sys

import pytest
from google.protobuf.descriptor import FieldDescriptor

from ringfence.xds import codec, schema


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_checked_in_descriptor_set_is_up_to_date():
    """Whoever raises envoy-data-plane or adds a root must run the generator."""
    assert schema.descriptor_set() == schema.TARGET.read_bytes()


@pytest.mark.parametrize("root", schema.ROOTS)
def test_every_root_has_a_class(root: str):
    """Each message that we say we use can be made and encoded."""
    assert codec.message(root).DESCRIPTOR.full_name == root
    assert codec.encode(codec.build(root)) == b""


def test_presence_is_kept():
    """A bool wrapper set to false and a proto3 optional are on the wire; the two kinds of presence do not blur."""
    name = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    assert codec.encode(codec.build(name, normalize_path={"value": False})) != b""
    descriptor = codec.message("envoy.config.core.v3.SocketAddress").DESCRIPTOR
    assert descriptor.oneofs_by_name["port_specifier"].fields[0].name == "port_value"


def test_nested_names_are_the_real_ones():
    """Messages and enums are where Envoy's own files have them, which JSON and type URLs rely on."""
    matcher = codec.message("xds.type.matcher.v3.Matcher").DESCRIPTOR
    assert "MatcherTree" in matcher.nested_types_by_name
    tls = codec.message("envoy.extensions.transport_sockets.tls.v3.TlsParameters").DESCRIPTOR
    field = tls.fields_by_name["tls_maximum_protocol_version"]
    assert field.type == FieldDescriptor.TYPE_ENUM
    assert field.enum_type.full_name == "envoy.extensions.transport_sockets.tls.v3.TlsParameters.TlsProtocol"
    assert field.enum_type.values_by_name["TLSv1_3"].number == 4


@pytest.mark.slow
def test_the_codec_needs_no_envoy_data_plane_at_run_time():
    """The quarter of a second that its import costs is paid at build time only."""
    code = (
        "import sys; from ringfence.xds import codec; codec.message('envoy.config.listener.v3.Listener');"
        "sys.exit(any(m.startswith(('envoy_data_plane', 'betterproto2')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
