"""An operator's own PKI for tests, made by openssl: a root, a signing authority below it, and their files."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests import parts

_ROOT = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
_BELOW = _ROOT + "authorityKeyIdentifier=keyid\n"


@dataclass(frozen=True, slots=True)
class Pki:
    """PEM files: `root`, and `signing` with its key `key` below it."""

    root: Path
    root_key: Path
    signing: Path
    key: Path


def openssl(*arguments: str | Path) -> str:
    """What `openssl ARGUMENTS` says."""
    done = subprocess.run(
        [parts.program("openssl", "openssl"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def new_key(path: Path, kind: str = "ec") -> Path:
    """A private key, 0600."""
    options = (
        ("EC", "-pkeyopt", "ec_paramgen_curve:P-256") if kind == "ec" else ("RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    )
    openssl("genpkey", "-algorithm", *options, "-out", path)
    path.chmod(0o600)
    return path


def new_pki(folder: Path, *, kind: str = "ec", days: int = 30, path_length: str = "") -> Pki:
    """A root of 30 days and a signing authority of *days* below it."""
    folder.mkdir(parents=True, exist_ok=True)
    root, signing = folder / "root.pem", folder / "signing.pem"
    root_key, key = new_key(folder / "root.key", kind), new_key(folder / "signing.key", kind)
    (folder / "root.ext").write_text(f"[req]\ndistinguished_name=dn\nx509_extensions=x\n[dn]\n[x]\n{_ROOT}")
    config, subject = folder / "root.ext", "/O=Operator/CN=Root"
    openssl("req", "-x509", "-new", "-key", root_key, "-subj", subject, "-days", "30", "-config", config, "-out", root)
    (folder / "below.ext").write_text(_BELOW.replace("CA:true", f"CA:true{path_length}"))
    request = folder / "signing.csr"
    openssl("req", "-new", "-key", key, "-subj", "/O=Operator/CN=Signing", "-config", config, "-out", request)
    below = ("-extfile", folder / "below.ext", "-days", str(days), "-out", signing)
    openssl("x509", "-req", "-in", request, "-CA", root, "-CAkey", root_key, "-CAcreateserial", *below)
    return Pki(root, root_key, signing, key)
