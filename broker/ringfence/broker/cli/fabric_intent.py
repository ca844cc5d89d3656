"""Which fabric and which job of intent documents a command means."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ringfence.broker.intent_files import read_documents
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.fabrics import Fabric
from ringfence.policy.load import load_documents
from ringfence.policy.model import Model


def model_of(folder: Path, trust_domain: str | None, now: datetime) -> Model:
    """What the documents in *folder* mean together; raises INVALID with the first finding where any is in error."""
    texts = [(document.path, document.text) for document in read_documents(folder)]
    loaded = load_documents(texts, default_trust_domain=trust_domain, now=now)
    if loaded.model is None:
        first = next(finding for finding in loaded.findings if finding.level == "error")
        raise RingfenceError(Kind.INVALID, str(first), hint=f"`ringfence policy validate {folder}` lists all")
    return loaded.model


def fabric_of(model: Model, name: str) -> Fabric:
    """The fabric NAMESPACE/NAME, or NAME where that is one alone, or the only one for no name; raises NOT_FOUND."""
    found = [one for one in model.fabrics.values() if name in {"", one.key, one.name}]
    if len(found) == 1:
        return found[0]
    known = ", ".join(sorted(model.fabrics)) or "none"
    why = "none is named" if not name else f"{name} is the name of several" if found else f"no fabric is named {name}"
    raise RingfenceError(Kind.NOT_FOUND, f"{why}; fabrics: {known}", hint="Name one as NAMESPACE/NAME")


def job_of(model: Model, fabric: Fabric, name: str, now: datetime) -> str:
    """The key of the job NAMESPACE/JOB, or JOB where that is one alone, that may use *fabric*; raises DENIED."""
    # 1. Only a grant for this fabric, and only until its end.
    grants = [one for one in model.fabric_grants.values() if one.fabric == fabric.key and one.in_force(now)]
    # 2. Of the job by its name; two namespaces may have one of the same.
    found = {one.job_key for one in grants if name in {one.job, one.job_key}}
    if len(found) == 1:
        return found.pop()
    if found:
        detail = f"job {name} is one of {', '.join(sorted(found))}"
        raise RingfenceError(Kind.CONFLICT, detail, hint="Name it as NAMESPACE/JOB")
    # 3. What no grant gives leave for stays off the fabric.
    granted = ", ".join(sorted({one.job_key for one in grants})) or "none"
    raise RingfenceError(
        Kind.DENIED,
        f"no grant in force lets job {name} use fabric {fabric.key}; jobs that may: {granted}",
        hint="Write a FabricGrant for it, or a later `expires` into the one that ended",
    )
