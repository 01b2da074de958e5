"""Regenerate reprise.archive.criu's stubs from CRIU's own definitions, as the Go module go-criu carries them.

The .proto files (MIT, "Copyright (c) 2020 The CRIU developers", images/LICENSE in CRIU) are kept beside the stubs.
`(criu).hex` and `(criu).flags` only tell a printer what to do: they are taken out with their import.

tasks.proto is an excerpt: the messages that say what a process was, each as CRIU defines it but for the fields whose message
is not among them (protobuf skips what it does not know), and with enumerations as numbers, so that a kind of file that a
newer CRIU adds makes nothing unreadable, and strings as bytes, since a file's name need not be UTF-8. The wire is the same.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = "github.com/checkpoint-restore/go-criu/v8@v8.3.0"
NAMES = ("pagemap", "stats")
EXCERPT = "tasks"
MESSAGES = {
    "inventory": ("inventory_entry",), "pstree": ("pstree_entry",), "fs": ("fs_entry",), "mm": ("mm_entry",),
    "vma": ("vma_entry",), "criu-core": ("core_entry", "task_core_entry", "task_kobj_ids_entry"),
    "fdinfo": ("fd_types", "fdinfo_entry", "file_entry"),
    "regfile": ("reg_file_entry",), "sk-inet": ("inet_sk_entry",), "sk-unix": ("unix_sk_entry",), "pipe": ("pipe_entry",),
    "fifo": ("fifo_entry",), "ns": ("ns_file_entry",), "sk-netlink": ("netlink_sk_entry",), "packet-sock": ("packet_sock_entry",),
    "tcp-stream": ("tcp_stream_entry",), "file-lock": ("file_lock_entry",), "memfd": ("memfd_file_entry", "memfd_inode_entry"),
    "remap-file-path": ("remap_file_path_entry",), "tty": ("tty_file_entry",),
}  # fmt: skip
SCALARS = {"bool", "bytes", "string", "int32", "int64", "sint32", "sint64", "uint32", "uint64", "fixed64"}
FIELD = re.compile(r"^\s*(required|optional|repeated)\s+(\w+)\s+(\w+)\s*=\s*(\d+)[^;]*;", re.M)
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
        text = excerpt(source)
        (Path(folder) / PACKAGE / f"{EXCERPT}.proto").write_text(text)
        (OUT / PACKAGE / f"{EXCERPT}.proto").write_text(text)
        flags = [f"-I{folder}", f"--python_out={OUT}", f"--pyi_out={OUT}"]
        files = [f"{PACKAGE}/{name}.proto" for name in (*NAMES, EXCERPT)]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *flags, *files], check=True)


def excerpt(source: Path) -> str:
    """The wanted messages as one file."""
    known = {name for names in MESSAGES.values() for name in names}
    bodies = []
    for file, names in MESSAGES.items():
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", (source / f"{file}.proto").read_text(), flags=re.S)
        enums = set(re.findall(r"\benum\s+(\w+)", "".join(path.read_text() for path in source.glob("*.proto"))))
        for name in names:
            kind, body = re.search(rf"\b(message|enum)\s+{name}\s*\{{(.*?)\n\}}", text, re.S).groups()
            bodies.append(f"{kind} {name} {{\n{body.strip() if kind == 'enum' else fields(body, known, enums)}\n}}\n")
    return 'syntax = "proto2";\n\n' + "\n".join(bodies)


def fields(body: str, known: set[str], enums: set[str]) -> str:
    found = []
    for label, kind, name, number in FIELD.findall(body):
        if kind in enums:
            found.append(f"  {label} uint32 {name} = {number};")
        elif kind in SCALARS | known:
            found.append(f"  {label} {'bytes' if kind == 'string' else kind} {name} = {number};")
    return "\n".join(found)


if __name__ == "__main__":
    main()
