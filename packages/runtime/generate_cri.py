"""Regenerate reprise.runtime.cri's stubs from the Go module k8s.io/cri-api, without its gogoproto options."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "v0.34.4"
OUT = Path(__file__).parent / "src"


def main() -> None:
    told = subprocess.run(
        ["go", "mod", "download", "-json", f"k8s.io/cri-api@{VERSION}"], capture_output=True, text=True, check=True, cwd="/"
    )
    source = Path(json.loads(told.stdout)["Dir"]) / "pkg/apis/runtime/v1/api.proto"
    lines = [line for line in source.read_text().splitlines() if "gogoproto" not in line]
    with tempfile.TemporaryDirectory() as folder:
        proto = Path(folder) / "reprise/runtime/cri/api.proto"
        proto.parent.mkdir(parents=True)
        proto.write_text("\n".join(lines) + "\n")
        flags = [f"-I{folder}", f"--python_out={OUT}", f"--grpc_python_out={OUT}", f"--pyi_out={OUT}"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *flags, "reprise/runtime/cri/api.proto"], check=True)


if __name__ == "__main__":
    main()
