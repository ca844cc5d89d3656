"""That a TPM has a key loaded, as TPM2_Certify says it: TPMS_ATTEST (TPM 2.0 Part 2, 10.12.12)."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.certs.tpm.names import GENERATED, ST_ATTEST_CERTIFY
from ringfence.certs.tpm.reader import Reader

MAX_CERTIFICATION = 1024  # bytes
_CLOCK_AND_FIRMWARE = 8 + 4 + 4 + 1 + 8  # TPMS_CLOCK_INFO, firmwareVersion


@dataclass(frozen=True, slots=True)
class Certification:
    """What it says: the key's name, and what whoever asked wanted said with it."""

    name: bytes
    qualifying: bytes

    @classmethod
    def parse(cls, data: bytes) -> Certification:
        """The one that *data* is; raises UNAUTHENTICATED for anything else that a TPM or somebody else may sign."""
        reader = Reader(data, "the certification of the DevID key")
        if len(data) > MAX_CERTIFICATION:
            raise reader.refused(f"it has more than {MAX_CERTIFICATION} bytes")
        if reader.number(4) != GENERATED:
            raise reader.refused("no TPM made it")
        if reader.number(2) != ST_ATTEST_CERTIFY:
            raise reader.refused("it is not of TPM2_Certify")
        reader.sized()  # qualifiedSigner
        qualifying = reader.sized()
        reader.take(_CLOCK_AND_FIRMWARE)
        name = reader.sized()
        reader.sized()  # qualifiedName
        reader.end()
        return cls(name, qualifying)
