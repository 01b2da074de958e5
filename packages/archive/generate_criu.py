"""Regenerate reprise.archive.criu's stubs from CRIU's own definitions, as the Go module go-criu carries them.

The .proto files (MIT, "Copyright (c) 2020 The CRIU developers", images/LICENSE in CRIU) are kept beside the stubs.
`(criu).hex` and `(criu).flags` only tell a printer what to do: they are taken out with their import.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = "github.com/checkpoint-restore/go-criu/v7@v7.2.0"
NAMES = ("pagemap", "stats")
PACKAGE = "reprise/archive/criu"
OUT = Path(__file__).parent / "src"


def main() -> None:
    told = subprocess.run(["go", "mod", "download", "-json", MODULE], capture_output=True, text=True, check=True, cwd="/")
    source = Path(json.loads(told.stdout)["Dir"]) / "crit/images"
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            text = (source / f"{name}.proto").read_text()
            text = re.sub(r'import "opts.proto";\n+', "", text)
            text = re.sub(r"\s*\[\(criu\)[^\]]*\]", "", text)
            proto = Path(folder) / PACKAGE / f"{name}.proto"
            proto.parent.mkdir(parents=True, exist_ok=True)
            proto.write_text(text)
            (OUT / PACKAGE / proto.name).write_text(text)
        flags = [f"-I{folder}", f"--python_out={OUT}", f"--pyi_out={OUT}"]
        files = [f"{PACKAGE}/{name}.proto" for name in NAMES]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *flags, *files], check=True)


if __name__ == "__main__":
    main()
