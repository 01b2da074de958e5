"""Images, built into one store. Nodes with CRI-O see it read-only: nothing is copied into a node (containerd: see containerd.py).

Third-party servers are one static binary on nothing; services and the examples are built by buildah from their
Dockerfiles on a Debian base. What did not change is not built again.
"""

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from reprise_lab.paths import BIN, CHECKOUT, HOME, LAYOUTS, PACKAGE, ROOTFS, STORE
from reprise_lab.shell import LabError, run

SERVICES = ("scheduler", "checkpointer", "transfer", "restorer", "health-watcher", "console")
COMPONENTS = ("webhook",)
"""Services that an overlay may add; an image all the same: its own layer is small."""
BINARIES = {
    "pause": (ROOTFS / "usr/bin/catatonit", ["/pause", "-P"]),
    "nats": (BIN / "nats-server", ["/nats"]),
    "minio": (BIN / "minio", ["/minio"]),
    "jaeger": (BIN / "jaeger", ["/jaeger"]),
    "coredns": (BIN / "coredns", ["/coredns"]),
}
BUD = (
    "buildah", "bud", "--isolation", "chroot", "--ulimit", "nofile=1024:20000", "--ulimit", "nproc=4096:4096",
    "--network", "host", "--layers", "--pull=never",
)  # fmt: skip
BASES = ("python", "postgres", "nodejs")
EXAMPLES = {"counter": "python", "pull-state": "python", "counter-node": "nodejs"}
"""By folder below examples/: the base that its image is built on."""
PASSED_ON = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX")


def builder(*command: object) -> str:
    """Run in the builder root (scripts/builder.sh), in a mount namespace that ends with it."""
    for folder in (STORE, HOME / "cache", LAYOUTS, HOME / "bases", HOME / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    # Whoever ends us ends it: nothing of an interrupted build may go on.
    ends_with_us = ("setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-p", "-f", "--kill-child")
    return run(*ends_with_us, PACKAGE / "scripts/builder.sh", HOME, CHECKOUT, *command)


def build_servers() -> list[str]:
    """Only what the cluster itself needs."""
    return build([*BINARIES, "base-python", "base-postgres"])


def stamp(name: str) -> Path:
    return STORE.parent / "stamps" / f"image-{name}"


def built() -> dict[str, str]:
    """Every image that was built, and the key of what it was built from."""
    names = (*BINARIES, *(f"base-{name}" for name in BASES), *(f"reprise-{s}" for s in SERVICES + COMPONENTS), *EXAMPLES)
    return {name: stamp(name).read_text() for name in names if stamp(name).exists()}


def reference(name: str) -> str:
    return f"localhost/{name}:1" if name in EXAMPLES else f"localhost/{name}:lab"


def digest(paths: Iterable[Path], *more: str) -> str:
    """Of the contents of files and folders, and of more."""
    total = hashlib.sha256("\0".join(more).encode())
    for path in paths:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and not {"__pycache__", "tests"} & set(file.relative_to(path.parent).parts):
                total.update(str(file.relative_to(path.parent)).encode())
                total.update(file.read_bytes())
    return total.hexdigest()


def build(names: Iterable[str] = ()) -> list[str]:
    """Build what changed, of all or of the named; returns what was built. Raises LabError at the end if one failed."""
    stamp("x").parent.mkdir(parents=True, exist_ok=True)
    wanted, built, failed = set(names), [], []
    for name, make, key in _plan():
        if wanted and name not in wanted:
            continue
        if stamp(name).exists() and stamp(name).read_text() == key:
            continue
        began = time.monotonic()
        try:
            make()
        except LabError as error:
            failed.append(f"{name}: {error}")
            continue
        stamp(name).write_text(key)
        built.append(name)
        print(f"lab: image {name}: built in {time.monotonic() - began:.1f} s", flush=True)
    if failed:
        raise LabError("images that could not be built:\n" + "\n".join(failed))
    return built


Image = tuple[str, Callable[[], None], str]


def _plan() -> Iterator[Image]:
    """Lazily: the services' keys hold the base's, which may have been built just before."""
    yield from _binaries()
    yield from _bases()
    yield from _dockerfiles()


def _binaries() -> list[Image]:
    found: list[Image] = []
    for name, (binary, command) in BINARIES.items():
        status = binary.stat() if binary.exists() else None
        key = f"{status.st_size} {status.st_mtime_ns} {command}" if status else "missing"
        found.append((name, partial(_static, name, binary, command), key))
    return found


def _static(name: str, binary: Path, command: list[str]) -> None:
    layout(LAYOUTS / name, command, {f"/{name}": binary.read_bytes()})
    builder("skopeo", "copy", "-q", f"oci:/lab/layouts/{name}", f"containers-storage:{reference(name)}")


def _bases() -> list[Image]:
    found: list[Image] = []
    for name in BASES:
        tar = HOME / "bases" / f"{name}.tar"
        key = f"{tar.stat().st_size} {tar.stat().st_mtime_ns}" if tar.exists() else "missing"
        found.append((f"base-{name}", partial(_base, name), key))
    return found


def _base(name: str) -> None:
    script = f"""set -e; c=$(buildah from scratch)
buildah add -q $c /lab/bases/{name}.tar / >/dev/null
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 --cmd /bin/bash $c
buildah commit -q --rm $c localhost/base-{name}:lab"""
    builder("bash", "-c", script)


def _dockerfiles() -> list[Image]:
    shared = [CHECKOUT / p for p in ("packages", "deploy/requirements.txt", "deploy/uv.txt", "deploy/Dockerfile")]
    base = _key_of("base-python")
    found: list[Image] = []
    for service in SERVICES + COMPONENTS:
        if (CHECKOUT / "services" / service).is_dir():
            key = digest([*shared, CHECKOUT / "services" / service], base)
            found.append((f"reprise-{service}", partial(_service, service), key))
    for name, on in EXAMPLES.items():
        folder = CHECKOUT / "examples" / name
        if (folder / "Dockerfile").exists():
            sources = [path for path in sorted(folder.iterdir()) if path.name == "Dockerfile" or path.suffix in (".py", ".js")]
            found.append((name, partial(_example, name, on), digest(sources, _key_of(f"base-{on}"))))
    return found


def _key_of(name: str) -> str:
    """What an image was built from; empty: it was not built."""
    return stamp(name).read_text() if stamp(name).exists() else ""


def _service(service: str) -> None:
    environment = [w for n in PASSED_ON if n in os.environ for w in ("--build-arg", f"{n}={os.environ[n]}")]
    builder(*BUD, *environment, "--build-arg", "BASE=localhost/base-python:lab", "--build-arg", f"SERVICE={service}",
            "-v", "/lab/cache:/cache:rw", "-v", "/etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro",
            "-t", f"localhost/reprise-{service}:lab", "-f", "/checkout/deploy/Dockerfile", "/checkout")  # fmt: skip


def _example(name: str, base: str) -> None:
    builder(*BUD, "--build-arg", f"BASE=localhost/base-{base}:lab", "-t", reference(name),
            "-f", f"/checkout/examples/{name}/Dockerfile", f"/checkout/examples/{name}")  # fmt: skip


def layout(out: Path, entrypoint: list[str], files: dict[str, bytes]) -> None:
    """A one-layer OCI image layout from static binaries: no Dockerfile, no daemon, reproducible."""
    blobs = out / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{name}", "size": len(data)}

    def js(value: object) -> bytes:
        return json.dumps(value, sort_keys=True).encode()

    content = put(_tar(files), "layer.v1.tar")
    config = put(js({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": entrypoint, "Env": ["PATH=/"]},
                     "rootfs": {"type": "layers", "diff_ids": [content["digest"]]}}), "config.v1+json")  # fmt: skip
    manifest = put(js({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                       "config": config, "layers": [content]}), "manifest.v1+json")  # fmt: skip
    (out / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (out / "index.json").write_bytes(js({"schemaVersion": 2, "manifests": [manifest]}))


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
        for path, data in sorted(files.items()):
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
