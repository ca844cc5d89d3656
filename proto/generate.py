"""Makes the wire code from our .proto files: `python proto/generate.py` writes it beside them, `--check` compares.

Our own files become `_pb2.py` and `.pyi`. Those of standards, which others may bring into the process too, become
descriptor sets that `ringfence.proto.private` loads into pools of their own.
"""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
PACKAGED = ("admin", "agent", "proxy")
PRIVATE = ("broker", "reflection", "spire_bundle", "spire_svid", "workload")


def generate(into: Path) -> tuple[str, ...]:
    """Write everything below *into*; the names written, relative to it. Raises RuntimeError if protoc refuses."""
    packaged = [f"ringfence/{name}/v1/{name}.proto" for name in PACKAGED]
    _protoc(f"--python_out={into}", f"--pyi_out={into}", *packaged)
    sets = [f"ringfence/proto/{name}.binpb" for name in PRIVATE]
    (into / sets[0]).parent.mkdir(parents=True, exist_ok=True)
    for name in sets:
        _protoc(f"--descriptor_set_out={into / name}", "--include_imports", name.replace(".binpb", ".proto"))
    modules = [name.replace(".proto", f"_pb2{suffix}") for name in packaged for suffix in (".py", ".pyi")]
    return (*modules, *sets)


def differing() -> list[str]:
    """The checked-in files that are not what the .proto files give now."""
    with tempfile.TemporaryDirectory() as folder:
        names = generate(Path(folder))
        return [
            n for n in names if not (ROOT / n).exists() or not filecmp.cmp(ROOT / n, Path(folder, n), shallow=False)
        ]


def _same(held: Path, made: Path) -> bool:
    return held.exists() and filecmp.cmp(held, made, shallow=False)


def _protoc(*arguments: str) -> None:
    well_known = resources.files("grpc_tools") / "_proto"
    code = protoc.main(["protoc", f"-I{ROOT}", f"-I{well_known}", *arguments])
    if code:
        raise RuntimeError(f"protoc ended with {code} on {arguments[-1]}")


def main() -> int:
    """Generate, or with `--check` say what is stale; the exit code."""
    if "--check" in sys.argv[1:]:
        stale = differing()
        sys.stderr.write("".join(f"{name} is stale: run make proto\n" for name in stale))
        return bool(stale)
    with tempfile.TemporaryDirectory() as folder:
        for name in generate(Path(folder)):
            shutil.copyfile(Path(folder, name), ROOT / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
