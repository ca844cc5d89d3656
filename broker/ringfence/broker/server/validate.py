"""What would keep a server from starting, all of it at once, found without starting one or changing anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from ringfence.broker.access.access import AccessConfig
from ringfence.broker.config import DATABASE, ServerConfig
from ringfence.broker.intent_documents import judged, refused
from ringfence.broker.intent_files import read_documents
from ringfence.broker.keys.choice import DISK, unlock
from ringfence.broker.store.location import Location
from ringfence.broker.store.migrate import HEAD
from ringfence.broker.store.offline import Found, look
from ringfence.certs.errors import Kind, RingfenceError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `detail` says what was found, or what is wrong and the next step."""

    name: str
    ok: bool
    detail: str


def validate(config: ServerConfig, now: datetime) -> tuple[Check, ...]:
    """Every check, in the order of a start; raises nothing of its own."""
    return tuple(_checked(name, check) for name, check in _checks(config, now))


def _checks(config: ServerConfig, now: datetime) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "data directory", partial(_data_dir, config)
    yield "database", partial(_database, config)
    if config.keys.manager == DISK:
        yield "keys", partial(_keys, config)
    if config.signers:
        yield "signers", partial(_signers, config)
    if config.access is not None:
        yield "access", partial(_access, config.access)
    if config.x509pop_ca:
        yield "x509pop", partial(_certificates, config.x509pop_ca, "--x509pop-ca")
    if config.tpm_devid_ca:
        yield "tpm_devid", partial(_certificates, config.tpm_devid_ca, "--tpm-devid-ca")
        yield "tpm_ek", partial(_certificates, config.tpm_ek_ca, "--tpm-ek-ca")
    if config.k8s_clusters is not None:
        yield "k8s_psat", partial(_clusters, config.k8s_clusters)
    if config.intent is not None:
        yield "intent", partial(_intent, config, now)


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, ok=True, detail=check())
    except RingfenceError as error:
        return Check(name, ok=False, detail=str(error))
    except OSError as error:
        return Check(name, ok=False, detail=f"{error.filename}: {error.strerror}")


def _data_dir(config: ServerConfig) -> str:
    folder = config.data_dir
    if not folder.exists():
        return f"{folder} will be made"
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise RingfenceError(
            Kind.INVALID, "is no folder that may be written", where=str(folder), hint="Check its owner"
        )
    return str(folder)


def _database(config: ServerConfig) -> str:
    location = config.database or Location.of_file(config.data_dir / DATABASE)
    found = look(location)
    if found.trust_domain and found.trust_domain != config.trust_domain.name:
        raise RingfenceError(
            Kind.CONFLICT,
            f"this database belongs to the trust domain {found.trust_domain}",
            where=str(location),
            hint=f"Give --trust-domain {found.trust_domain}, or another database for {config.trust_domain}",
        )
    return f"{location}: {_state(found)}"


def _state(found: Found) -> str:
    if found.schema is None:
        return f"schema {HEAD} will be made"
    if found.schema != HEAD:
        return f"schema {found.schema or 'before the first'} becomes {HEAD} at start"
    return f"schema {HEAD}, {found.entries} entries"


def _keys(config: ServerConfig) -> str:
    found = unlock(config.keys, config.data_dir)  # reads the passphrase, which has to be there in any case
    if not found.folder.is_dir():
        return f"{found.folder} will be made"
    held = len(found.open(alone=False).key_ids())
    return f"{found.folder}: {held}, {'encrypted' if found.secret else 'not encrypted'}"


def _signers(config: ServerConfig) -> str:
    from ringfence.broker.signing.pool import check_keys

    check_keys(config.keys.manager)
    return f"{config.signers} processes"


def _access(access: AccessConfig) -> str:
    from ringfence.broker.access.issuers import open_issuer

    for issuer in access.issuers:
        open_issuer(issuer)
    where = "the admin socket and --listen" if access.network else "the admin socket"
    return f"grants: {len(access.grants)}, issuers: {len(access.issuers)}, on {where}"


def _certificates(files: Sequence[Path], flag: str) -> str:
    from ringfence.broker.attest.roots import read_roots

    return f"{len(read_roots(files, flag))} authorities of {'TPMs' if flag == '--tpm-ek-ca' else 'nodes'}"


def _clusters(path: Path) -> str:
    from ringfence.broker.attest.k8s_clusters import read_clusters

    return f"{path}: {', '.join(cluster.name for cluster in read_clusters(path))}"


def _intent(config: ServerConfig, now: datetime) -> str:
    folder = config.intent
    assert folder is not None  # noqa: S101  # for the type checker
    texts = read_documents(folder)
    loaded = judged(texts, config.trust_domain, now)
    if loaded.model is None:
        raise refused(loaded.findings)
    return f"{folder}: {len(loaded.documents)} documents, revision {loaded.model.revision[:12]}"
