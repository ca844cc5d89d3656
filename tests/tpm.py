"""A software TPM for tests (swtpm) with an endorsement certificate, and DevID keys that tpm2-tools make in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests import parts

_CA_FILES = {"signingkey": "signkey.pem", "issuercert": "issuercert.pem", "certserial": "certserial"}
_PATIENCE = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Devid:
    """A key in a TPM, as tpm2-tools write it: its wrapped half, its public area, and what a certificate is made for."""

    private: Path
    public: Path
    key: Any


@dataclass(frozen=True, slots=True)
class SoftwareTpm:
    """One that runs."""

    folder: Path

    @property
    def tcti(self) -> str:
        """Where it is, as tpm2-tools and the agent say it."""
        return f"swtpm:path={self.folder / 'socket'}"

    def tool(self, name: str, *arguments: str | Path) -> str:
        """What the tpm2-tool *name* says."""
        return self._run(parts.program(name, "tpm2-tools"), *map(str, arguments))

    def shell(self, command: str) -> str:
        """What *command* says, in the TPM's folder."""
        return self._run("bash", "-ec", command)

    def _run(self, *command: str) -> str:
        environment = {**os.environ, "TPM2TOOLS_TCTI": self.tcti}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def flush(self) -> None:
        """Forget what tools left loaded: there is no resource manager between."""
        self.tool("tpm2_flushcontext", "-t")

    def storage_root(self, kind: str) -> Path:
        """The key that DevID keys are below, as docs/attestors/tpm_devid.md has it made."""
        context = self.folder / f"root-{kind}.ctx"
        attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
        self.tool("tpm2_createprimary", "-C", "o", "-G", f"{kind}:null:aes128cfb", "-a", attributes, "-c", context)
        self.flush()
        return context

    def devid(self, algorithm: str = "ecc256", *, root: Path | None = None) -> Devid:
        """A new DevID key."""
        kind = "rsa2048" if algorithm.startswith("rsa") else "ecc256"
        private, public, pem = (self.folder / f"devid.{what}" for what in ("priv", "pub", "pem"))
        attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
        files = ("-r", private, "-u", public, "-f", "pem", "-o", pem)
        parent = root or self.storage_root(kind)
        self.tool("tpm2_create", "-C", parent, "-G", algorithm, "-a", attributes, *files)
        self.flush()
        return Devid(private, public, load_pem_public_key(pem.read_bytes()))

    def loaded(self) -> str:
        """The handles of keys and sessions that are loaded."""
        return "".join(self.tool("tpm2_getcap", f"handles-{what}") for what in ("transient", "loaded-session"))


def _settings(folder: Path) -> Path:
    """Of swtpm_setup: an authority of its own that issues the endorsement certificates."""
    authority = folder / "maker"
    lines = [f"statedir = {authority}", *(f"{key} = {authority / name}" for key, name in _CA_FILES.items())]
    (folder / "localca.conf").write_text("\n".join(lines) + "\n")
    (folder / "localca.options").write_text("")
    tool = parts.program("swtpm_localca", "swtpm-tools")
    (folder / "setup.conf").write_text(
        f"create_certs_tool = {tool}\ncreate_certs_tool_config = {folder / 'localca.conf'}\n"
        f"create_certs_tool_options = {folder / 'localca.options'}\nactive_pcr_banks = sha256\n"
    )
    return folder / "setup.conf"


class TpmMaker:
    """Makes TPMs, and vouches for them."""

    def __init__(self, folder: Path) -> None:
        for name, package in (("swtpm", "swtpm"), ("swtpm_setup", "swtpm-tools"), ("tpm2_create", "tpm2-tools")):
            parts.program(name, package)
        self._folder = folder
        self._settings = _settings(folder)
        self._made = 0

    @property
    def authority(self) -> Path:
        """PEM of whoever issues the endorsement certificates; there once a TPM was made."""
        return self._folder / "maker" / "issuercert.pem"

    @contextmanager
    def tpm(self) -> Iterator[SoftwareTpm]:
        """A new TPM, running."""
        self._made += 1
        tpm = SoftwareTpm(self._folder / f"tpm{self._made}")
        state = tpm.folder / "state"
        state.mkdir(parents=True)
        setup = (parts.program("swtpm_setup", "swtpm-tools"), "--tpm2", "--tpmstate", state, "--create-ek-cert")
        done = subprocess.run(
            [*map(str, setup), "--config", self._settings], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        with _running(tpm, state):
            yield tpm


@contextmanager
def _running(tpm: SoftwareTpm, state: Path) -> Iterator[None]:
    socket = tpm.folder / "socket"
    channels = ("--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl")
    flags = ("--flags", "not-need-init,startup-clear")
    command = [parts.program("swtpm", "swtpm"), "socket", "--tpm2", "--tpmstate", f"dir={state}", *channels, *flags]
    with (tpm.folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        ends = time.monotonic() + _PATIENCE
        while not socket.exists():
            assert process.poll() is None, (tpm.folder / "log").read_text()
            assert time.monotonic() < ends, "swtpm did not start"
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def maker() -> Iterator[TpmMaker]:
    """One with a folder of its own, near the root: sockets are in it, whose paths are short."""
    folder = Path(tempfile.mkdtemp(prefix="tpm-"))
    try:
        yield TpmMaker(folder)
    finally:
        shutil.rmtree(folder)


def read_pem(path: Path) -> x509.Certificate:
    """The certificate in *path*."""
    return x509.load_pem_x509_certificate(path.read_bytes())
