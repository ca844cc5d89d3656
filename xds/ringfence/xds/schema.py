"""Builds the descriptor set of the Envoy messages that we use, from the field metadata of `envoy_data_plane`.

Run at build time (`python -m ringfence.xds.schema`) and checked in as `envoy.binpb`: no process of ours pays for the
import of `envoy_data_plane`, and resources are encoded by protobuf's own codec under their real full names.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

TARGET = Path(__file__).with_name("envoy.binpb")

# What we speak, by full name; everything that these refer to comes along.
ROOTS = (
    "envoy.config.bootstrap.v3.Bootstrap",
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.core.v3.TypedExtensionConfig",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.config.listener.v3.Listener",
    "envoy.config.rbac.v3.Action",
    "envoy.config.rbac.v3.RBAC",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.trace.v3.OpenTelemetryConfig",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
    "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
    "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
    "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.filters.http.health_check.v3.HealthCheck",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.network.rbac.v3.RBAC",
    "envoy.extensions.filters.network.set_filter_state.v3.Config",
    "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig",
    "envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput",
    "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput",
    "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput",
    "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
    "envoy.extensions.matching.common_inputs.network.v3.ServerNameInput",
    "envoy.extensions.matching.common_inputs.network.v3.SourceIPInput",
    "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput",
    "envoy.extensions.matching.input_matchers.ip.v3.Ip",
    "envoy.extensions.matching.input_matchers.metadata.v3.Metadata",
    "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher",
    "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor",
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
    "envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig",
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "envoy.service.discovery.v3.DeltaDiscoveryRequest",
    "envoy.service.discovery.v3.DeltaDiscoveryResponse",
    "envoy.service.discovery.v3.DiscoveryRequest",
    "envoy.service.discovery.v3.DiscoveryResponse",
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    "xds.type.matcher.v3.Matcher",
)

_MODULE = "envoy_data_plane."
_WELL_KNOWN = "google.protobuf"
_STRUCT = frozenset({"ListValue", "NullValue", "Struct", "Value"})
_FIELD = FieldDescriptorProto


def descriptor_set() -> bytes:
    """The serialised FileDescriptorSet of ROOTS, one file a package, each after those that it imports."""
    return _Walk().run()


class _Walk:
    """One walk over the classes: files by package, and the messages within them by full name."""

    def __init__(self) -> None:
        self.pool = import_module(_MODULE + "message_pool").default_message_pool
        self.files: dict[str, FileDescriptorProto] = {}
        self.messages: dict[str, DescriptorProto] = {}
        self.enums: dict[type, str] = {}
        self.imports: dict[str, set[str]] = {}

    def run(self) -> bytes:
        for root in ROOTS:
            import_module(_MODULE + root.rpartition(".")[0])
            self.message(self.pool.url_to_type[f"type.googleapis.com/{root}"])
        return FileDescriptorSet(file=self.ordered()).SerializeToString(deterministic=True)

    def ordered(self) -> Iterator[FileDescriptorProto]:
        done: set[str] = set()

        def emit(package: str) -> Iterator[FileDescriptorProto]:
            if package in done or package not in self.files:
                return
            done.add(package)
            for needed in sorted(self.imports[package]):
                yield from emit(needed)
            file = self.files[package]
            file.dependency.extend(sorted({_file_of(name) for name in self.imports[package]}))
            yield file

        for package in sorted(self.files):
            yield from emit(package)

    def message(self, cls: Any) -> str:
        """The full name of a message class, which is described first if it is new."""
        full: str = self.pool.type_to_url[cls].partition("/")[2]
        package = cls.__module__.removeprefix(_MODULE)
        outer = full.rpartition(".")[0]
        if package not in {_WELL_KNOWN, outer}:
            self.message(self.pool.url_to_type[f"type.googleapis.com/{outer}"])
        if package == _WELL_KNOWN or full in self.messages:
            return full
        described = self.place(package, full)
        meta = cls._betterproto
        for name, field in sorted(meta.meta_by_field_name.items(), key=lambda item: item[1].number):
            described.field.append(self.field(package, full, described, name, field, meta.cls_by_field))
        _number_oneofs(described)
        return full

    def place(self, package: str, full: str) -> DescriptorProto:
        """A new, empty description where it belongs: in its outer message or in its package's file."""
        outer = self.messages.get(full.rpartition(".")[0])
        described = outer.nested_type.add() if outer else self.file(package).message_type.add()
        described.name = full.rpartition(".")[2]
        self.messages[full] = described
        return described

    def file(self, package: str) -> FileDescriptorProto:
        if package not in self.files:
            self.files[package] = FileDescriptorProto(name=_file_of(package), package=package, syntax="proto3")
            self.imports[package] = set()
        return self.files[package]

    def field(
        self, package: str, full: str, described: DescriptorProto, name: str, meta: Any, classes: dict[str, type]
    ) -> FieldDescriptorProto:
        described_field = _FIELD(
            name=_proto_name(name),
            number=meta.number,
            label=_FIELD.LABEL_REPEATED if meta.repeated or meta.map_meta else _FIELD.LABEL_OPTIONAL,
        )
        if meta.map_meta:
            described_field.type = _FIELD.TYPE_MESSAGE
            described_field.type_name = f".{full}.{self.entry(package, described, name, meta, classes)}"
            return described_field
        self.set_type(package, described_field, meta, classes[name])
        if meta.group:
            described_field.json_name = meta.group  # Kept here until all are known: _number_oneofs.
        elif meta.optional and meta.proto_type != "message":
            described_field.proto3_optional = True
            described_field.json_name = f"_{described_field.name}"
        return described_field

    def entry(self, package: str, described: DescriptorProto, name: str, meta: Any, classes: dict[str, type]) -> str:
        entry = described.nested_type.add(name="".join(p.capitalize() for p in name.split("_")) + "Entry")
        entry.options.map_entry = True
        key = entry.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL)
        value = entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL)
        self.set_type(package, key, meta.map_meta[0], str)
        self.set_type(package, value, meta.map_meta[1], classes[f"{name}.value"])
        return str(entry.name)

    def set_type(self, package: str, described: FieldDescriptorProto, meta: Any, cls: type) -> None:
        described.type = _FIELD.Type.Value(f"TYPE_{meta.proto_type.upper()}")
        if meta.proto_type == "message":
            target = meta.unwrap() if meta.unwrap else cls
            described.type_name = f".{self.message(target)}"
        elif meta.proto_type == "enum":
            target = cls
            described.type_name = f".{self.enum(cls)}"
        else:
            return
        self.note_import(package, target, described.type_name)

    def note_import(self, package: str, target: type, type_name: str) -> None:
        needed = target.__module__.removeprefix(_MODULE)
        if needed == _WELL_KNOWN:
            needed = type_name.removeprefix(".")
        if needed != package:
            self.imports[package].add(needed)

    def enum(self, cls: type) -> str:
        """The full name of an enum class. Python names are flat: the longest message name in front is its scope."""
        package = cls.__module__.removeprefix(_MODULE)
        if package == _WELL_KNOWN:
            return f"{package}.{cls.__name__}"
        scope = self.scope(cls)
        around = self.message(scope) if scope else package
        if cls not in self.enums:
            name = cls.__name__.removeprefix(scope.__name__ if scope else "")
            holder: Any = self.messages[around] if scope else self.file(package)
            holder.enum_type.append(_enum(name, cls))
            self.enums[cls] = f"{around}.{name}"
        return self.enums[cls]

    def scope(self, cls: type) -> type | None:
        module = import_module(cls.__module__)
        classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == cls.__module__]
        around = [c for c in classes if c in self.pool.type_to_url and cls.__name__.startswith(c.__name__)]
        return max(around, key=lambda c: len(c.__name__), default=None)


def _enum(name: str, cls: Any) -> EnumDescriptorProto:
    described = EnumDescriptorProto(name=name)
    original = cls.betterproto_value_to_renamed_proto_names()
    members = {member.value: original.get(member.value, member.name) for member in cls}
    for number in sorted(members, key=lambda n: (n != 0, n)):  # proto3 wants zero first
        described.value.add(name=members[number], number=number)
    return described


def _number_oneofs(described: DescriptorProto) -> None:
    """Turn the group names that were kept in json_name into oneofs: real ones first, as descriptors demand."""
    fields = [f for f in described.field if f.json_name]
    names: dict[str, int] = {}
    for field in sorted(fields, key=lambda f: f.proto3_optional):
        index = names.setdefault(field.json_name, len(names))
        field.oneof_index = index
        field.ClearField("json_name")
    for name in names:
        described.oneof_decl.add(name=name)


def _proto_name(name: str) -> str:
    bare = name.removesuffix("_")
    return bare if keyword.iskeyword(bare) else name


def _file_of(package: str) -> str:
    if package.startswith(_WELL_KNOWN):
        name = package.rpartition(".")[2]
        module = "struct" if name in _STRUCT else "wrappers" if name.endswith("Value") else name.lower()
        return f"google/protobuf/{module}.proto"
    return package.replace(".", "/") + ".proto"


def main() -> None:
    """Write the descriptor set beside this module."""
    TARGET.write_bytes(descriptor_set())


if __name__ == "__main__":
    main()
