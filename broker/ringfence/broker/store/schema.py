"""The tables. Times are whole Unix seconds, lists are JSON, and a new column needs a migration beside it."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

# One row: the last revision given out. Locking it orders the writers, so revisions are gap-free in commit order.
# `registry` is the last one that changed what agents hold by revision: the same for all servers, whenever they loaded.
feed = Table(
    "feed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("registry", BigInteger, nullable=False, server_default="0"),
)

changes = Table(
    "changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("key", String(2048), nullable=False),
)

entries = Table(
    "entries",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("key", String(64), nullable=False, unique=True),
    Column("spiffe_id", String(2048), nullable=False),
    Column("parent_id", String(2048), nullable=False),
    Column("selectors", JSON, nullable=False),
    Column("x509_ttl", BigInteger, nullable=False),
    Column("jwt_ttl", BigInteger, nullable=False),
    Column("dns_names", JSON, nullable=False),
    Column("hint", String(256), nullable=False),
    Column("origin", String(512), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("federates_with", JSON, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("downstream", Boolean, nullable=False),
    Column("store_svid", Boolean, nullable=False),
    Column("jwt_jti", Boolean, nullable=False),
    Column("template", String(2048), nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=True),
)

nodes = Table(
    "nodes",
    metadata,
    Column("spiffe_id", String(2048), primary_key=True),
    Column("attestor", String(32), nullable=False),
    Column("attested_at", BigInteger, nullable=False),
    Column("serial", String(40), nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("banned", Boolean, nullable=False),
    Column("selectors", JSON, nullable=False),
    Column("reason", String(256), nullable=False, server_default=""),  # of the ban
)

# The servers of this trust domain. `number` names the advisory lock that one holds while it lives; `shows` is the
# sequence of the bundle that it last put before its agents and proxies.
servers = Table(
    "servers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("name", String(255), nullable=False),
    Column("address", String(255), nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("shows", BigInteger, nullable=False),
)

# Each server's authority: certificates and key names; private keys are with its key manager. The bundle is all of
# them, and its sequence the highest. `until` is 0, or when the last SVID of a server that is gone for good ends.
authority = Table(
    "authority",
    metadata,
    Column("server", String(64), primary_key=True),
    Column("state", JSON, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False, server_default="0"),
)

# Written before anything is signed: a row that stays at "intent" is the trace of a crash in between.
issuance = Table(
    "issuance",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("spiffe_id", String(2048), nullable=False),
    Column("entry_id", String(36), nullable=False),
    Column("agent_id", String(2048), nullable=False),
    Column("authority", String(64), nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
    Column("reason", String(256), nullable=False, server_default=""),
    Index("issuance_not_after", "not_after"),
    Index("issuance_identity", "spiffe_id"),  # alone: two long names are more than an index of PostgreSQL takes
    Index("issuance_node", "agent_id", "entry_id", "recorded_at"),
)

# `seq` orders applies; the last one is in force. A revision (content hash) comes back when intent is reverted.
intents = Table(
    "intents",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("revision", String(64), nullable=False),
    Column("author", String(256), nullable=False),
    Column("commit", String(64), nullable=False),
    Column("applied_at", BigInteger, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False),
    Column("text", LargeBinary, nullable=False),
)

# Where each (rule, hash) that a proxy may still carry was written; never deleted, so old decisions stay explained.
rules = Table(
    "rules",
    metadata,
    Column("rule", String(512), primary_key=True),
    Column("hash", String(16), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False),
    Column("line", Integer, nullable=False),
    Column("revision", String(64), nullable=False),
    Column("author", String(256), nullable=False),
    Column("commit", String(64), nullable=False),
    Column("effect", String(8), nullable=False),
    Column("owner", String(256), nullable=False),
    Column("reason", Text, nullable=False),
)

# Where proxies said that their workloads can be reached.
endpoints = Table(
    "endpoints",
    metadata,
    Column("key", String(512), primary_key=True),
    Column("port", String(128), primary_key=True),
    Column("host", String(256), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("node", String(512), nullable=False),
    Column("server", String(64), nullable=False, server_default=""),  # to which that proxy is connected
    Column("region", String(64), nullable=False, server_default=""),  # where that proxy runs
    Column("zone", String(64), nullable=False, server_default=""),
    Index("endpoints_node", "node"),
)

# Bundles of other trust domains (SPIFFE JSON), set by hand or fetched.
federated_bundles = Table(
    "federated_bundles",
    metadata,
    Column("trust_domain", String(255), primary_key=True),
    Column("bundle", LargeBinary, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

# Where they are fetched; `endpoint_id` is empty for https_web.
federations = Table(
    "federations",
    metadata,
    Column("trust_domain", String(255), primary_key=True),
    Column("url", String(2048), nullable=False),
    Column("profile", String(16), nullable=False),
    Column("endpoint_id", String(2048), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# Certificates that are not to be believed, until they have ended; columns as in RevokedSerial.
revoked_serials = Table(
    "revoked_serials",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("spiffe_id", String(2048), nullable=False),
    Column("authority", String(64), nullable=False),
    Column("node", String(2048), nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("revoked_at", BigInteger, nullable=False),
    Column("code", String(32), nullable=False),
    Column("reason", String(256), nullable=False),
)

# Identities that nobody gets, until they are lifted; `until` is 0 where only an operator does.
revoked_identities = Table(
    "revoked_identities",
    metadata,
    Column("spiffe_id", String(2048), primary_key=True),
    Column("revoked_at", BigInteger, nullable=False),
    Column("reason", String(256), nullable=False),
    Column("by", String(256), nullable=False),
    Column("until", BigInteger, nullable=False),
)

# The newest revocation list of each X.509 authority, whichever server signed it.
crls = Table(
    "crls",
    metadata,
    Column("authority", String(64), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("der", LargeBinary, nullable=False),
)

# Claims of nodes that workloads of theirs take part in jobs on fabrics, admitted. `id` hashes what tells them apart:
# the names together are more than an index of PostgreSQL takes. `until`, `leaves` and `server` as in Standing.
fabric_claims = Table(
    "fabric_claims",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("agent", String(2048), nullable=False),
    Column("fabric", String(512), nullable=False),
    Column("job", String(512), nullable=False),
    Column("spiffe_id", String(2048), nullable=False),
    Column("entry_id", String(2100), nullable=False),
    Column("addresses", JSON, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("leaves", BigInteger, nullable=False),
    Column("server", String(64), nullable=False),
    Index("fabric_claims_agent", "agent"),
)
