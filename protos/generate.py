"""Makes the Python stubs of the contract, which are checked in beside their .proto files.

`python protos/generate.py` writes them; with `--check` it writes nothing and fails if a stub is missing, left
over or other than what would be written. The versions of grpcio-tools and mypy-protobuf are pinned in
pyproject.toml, because the stubs refuse runtimes older than their generator.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
STUB_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def contract() -> list[Path]:
    """Every .proto file of ours, relative to the import root."""
    return sorted(path.relative_to(ROOT) for path in ROOT.glob("kagitori/**/*.proto"))


def stubs_in(folder: Path) -> dict[Path, bytes]:
    """Every stub below `folder`, by its path relative to it."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*_pb2*"))
        if path.name.endswith(STUB_SUFFIXES)
    }


def generate(into: Path) -> None:
    """Writes the stubs of the whole contract below `into`.

    Raises CalledProcessError if a file does not compile; the compiler has said why on stderr.
    """
    # The plugins are looked up beside the interpreter: PATH need not hold the environment's folder.
    beside = Path(sys.executable).parent
    compiler = [
        sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT}",
        f"--plugin=protoc-gen-mypy={beside / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={beside / 'protoc-gen-mypy_grpc'}",
    ]
    messages = contract()
    # A file without services would get an empty grpc module.
    service = re.compile(r"^service ", re.MULTILINE)
    services = [path for path in messages if service.search((ROOT / path).read_text("utf-8"))]
    for outputs, files in ((("python", "mypy"), messages), (("grpc_python", "mypy_grpc"), services)):
        # "quiet": a line per stub on stderr would drown the compiler's complaints.
        quiet = {output: "quiet:" if output.startswith("mypy") else "" for output in outputs}
        options = [f"--{output}_out={quiet[output]}{into}" for output in outputs]
        subprocess.run([*compiler, *options, *map(str, files)], check=True, cwd=ROOT)


def differences(fresh: dict[Path, bytes], kept: dict[Path, bytes]) -> list[str]:
    """One line for each stub that is not as it should be."""
    return [
        *(f"missing: {path}" for path in fresh if path not in kept),
        *(f"left over: {path}" for path in kept if path not in fresh),
        *(f"stale: {path}" for path in fresh if path in kept and fresh[path] != kept[path]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes the Python stubs of the contract.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail unless all is current")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = stubs_in(Path(folder))
    kept = stubs_in(ROOT)
    if check:
        problems = differences(fresh, kept)
        print("\n".join(problems) or f"{len(fresh)} stubs are current")
        return 1 if problems else 0
    for path in kept.keys() - fresh.keys():
        (ROOT / path).unlink()
    for path, content in fresh.items():
        (ROOT / path).write_bytes(content)
    print(f"{len(fresh)} stubs written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
