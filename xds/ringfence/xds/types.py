"""Names of the resource types that the discovery service speaks of, in the order in which they are pushed."""

from __future__ import annotations

_PREFIX = "type.googleapis.com/"

LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
ROUTE = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
EXTENSION_CONFIG = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

# A reader of a type is pushed after what it names, so that no reference dangles at the proxy (xds_protocol,
# "Eventual consistency considerations"); listeners and routes ask for filters, so policy comes after both.
PUSH_ORDER = (CLUSTER, ENDPOINT, LISTENER, ROUTE, EXTENSION_CONFIG, SECRET)

# Types of which a subscriber that names nothing gets everything.
WILDCARD = frozenset({LISTENER, CLUSTER})


def type_url(full_name: str) -> str:
    """The type URL of a message by its full name."""
    return _PREFIX + full_name
