"""Node attestation: from a proof to the agent's own SVID, with the server known by a bundle or pinned as seen."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import grpc.aio
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.address import Address
from ringfence.broker.agent.dial import Dialler, Trust
from ringfence.broker.agent.prove import NodeProver
from ringfence.broker.agent.storage import Identity
from ringfence.broker.agent.svids import HeldSvid, draw_jitter, new_key
from ringfence.broker.status import error_of
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import BACKDATE, new_csr
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.svid import parse_svid, verify_peer
from ringfence.proto.client import Client
from ringfence.proto.service import service_of

AGENT_PATH = "/ringfence/agent/"
_PATIENCE = 15.0  # seconds for the answer


def read_bundle(path: Path, trust_domain: TrustDomain) -> SpiffeBundle:
    """The bootstrap bundle in *path*, PEM or SPIFFE JSON; raises INVALID for anything else."""
    try:
        text = path.read_bytes()
        if b"-----BEGIN" in text:
            roots = tuple(root.public_bytes(Encoding.DER) for root in load_pem_x509_certificates(text))
            bundle = SpiffeBundle(trust_domain, roots)
        else:
            bundle = SpiffeBundle.parse(trust_domain, text)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    except (ValueError, RingfenceError) as error:
        raise _unusable(path, str(error)) from error
    if not bundle.x509_authorities:
        raise _unusable(path, "it holds no X.509 authority")
    return bundle


async def enrol(address: Address, trust: Trust, prover: NodeProver, *, now: datetime) -> Identity:
    """Have *prover* prove this node for its first SVID; the key of that is made here and never leaves.

    Raises UNAUTHENTICATED (the proof is refused; or the server is a stranger), DENIED, UNAVAILABLE, INVALID.
    """
    # 1. Reach the server, which `trust` says how to know.
    dialler = Dialler(address, lambda: trust, lambda: None)
    connection = await dialler.dial()
    key = new_key()
    try:
        client = Client(connection.channel, service_of(agent_pb2, "Agent"))
        # A challenge is good on this connection only.
        asked = agent_pb2.ChallengeRequest()
        nonce = (await client.Challenge(asked, timeout=_PATIENCE)).nonce if prover.needs_challenge else b""
        csr = new_csr(key)
        request = await asyncio.to_thread(prover.evidence, trust.trust_domain, nonce, csr)
        answer = await client.Attest(request, timeout=_PATIENCE)
        if answer.HasField("tpm_credential"):  # once: whoever asks again has not admitted us
            request = await asyncio.to_thread(prover.answer, answer.tpm_credential, csr)
            answer = await client.Attest(request, timeout=_PATIENCE)
    except grpc.aio.AioRpcError as error:
        raise refusal(error, address) from error
    finally:
        await connection.close()
    # 2. The bundle that came is the server's own: its certificate verifies under it.
    bundle = SpiffeBundle.parse(trust.trust_domain, answer.bundle)
    if trust.bundle is None:
        # What signed our SVID signed the server's too: intermediates, where there are some, are those of our chain.
        verify_peer([dialler.leaf, *answer.chain[1:]], bundle, now=now)
    # 3. The SVID is for our key, names an agent, and verifies under that bundle.
    name = parse_svid(tuple(answer.chain)).spiffe_id
    _check_name(name, answer.spiffe_id)
    svid = HeldSvid.of(answer.chain, key, name, draw_jitter())
    _check_clock(svid, now)
    verify_peer(svid.chain, bundle, now=now)
    prover.accepted()
    return Identity(svid, answer.bundle)


def _check_clock(svid: HeldSvid, now: datetime) -> None:
    """Raise UNAUTHENTICATED when what was issued just now begins later: its peers would not believe us either."""
    if svid.not_before > now:
        behind = round((svid.not_before + BACKDATE - now).total_seconds())
        raise RingfenceError(
            Kind.UNAUTHENTICATED,
            f"this node's clock is {behind} s behind the server's",
            hint="Set it right, and give a new --join-token if that is how this node joins",
        )


def refusal(error: grpc.aio.AioRpcError, address: Address) -> RingfenceError:
    """What a status from the server means to the operator of this agent."""
    sent = error_of(error, where=str(address))
    detail = error.details() or error.code().name
    match error.code():
        case grpc.StatusCode.PERMISSION_DENIED:  # it knows us, and has said no
            kind, hint = Kind.DENIED, "Make a new token with `ringfence token generate`: each works once"
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.NOT_FOUND:
            kind, hint = Kind.UNAUTHENTICATED, "Make a new token with `ringfence token generate`: each works once"
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
            kind, hint = Kind.INVALID, "Check the proof that --attestor names, and the server's version"
        case grpc.StatusCode.UNIMPLEMENTED:
            kind, hint = Kind.UNIMPLEMENTED, "Check that --server is the --listen address of `ringfence server run`"
        case _:
            kind, hint = Kind.UNAVAILABLE, ""
    # What the server says of the next step is nearer to the case than what we can say.
    return RingfenceError(kind, f"the server refused this node: {detail}", where=str(address), hint=sent.hint or hint)


def _check_name(name: SpiffeId, said: str) -> None:
    if not name.path.startswith(AGENT_PATH) or str(name) != said:
        raise RingfenceError(Kind.UNAUTHENTICATED, f"the server named this node {name}, which is no agent")


def _unusable(path: Path, detail: str) -> RingfenceError:
    return RingfenceError(
        Kind.INVALID,
        f"the bootstrap bundle can't be used: {detail}",
        where=str(path),
        hint="Write it anew on the server's machine: ringfence bundle show --format pem",
    )
