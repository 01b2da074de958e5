"""`reprise export`: a stored checkpoint as a file for checkpointctl, CRI-O and whatever reads OCI images."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from reprise.archive import export as exporting
from reprise.archive.export import Form
from reprise.cli.archives import stored, workload_name
from reprise.cli.names import WorkloadName
from reprise.cli.output import Format, Output, print_data, say
from reprise.cli.ports import Session
from reprise.cli.progress import counting
from reprise.cli.rendering import size

Name = Annotated[
    str, typer.Argument(metavar="WORKLOAD", help="[NAMESPACE/][KIND/]NAME[@CHECKPOINT]; the newest if none is named.")
]
Checkpoint = Annotated[str, typer.Option("--checkpoint", help="Which: the beginning of its id; `reprise history` lists them.")]
Container = Annotated[str, typer.Option("-c", "--container", help="Which, where checkpoints of several are stored.")]
To = Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write; it is the process's memory, unencrypted.")]
As = Annotated[Form, typer.Option("--format", help="tar: as checkpointctl and CRI-O read it; oci: an OCI archive with it.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")]


def export(
    context: typer.Context, workload: Name, to: To, checkpoint: Checkpoint = "", container: Container = "",
    form: As = Form.tar, force: Force = False, output: Output = Format.table,
) -> None:  # fmt: skip
    """Write a stored checkpoint to a file that other tools read. The file is there when it is whole, or not at all."""
    session: Session = context.obj
    with stored(session, _named(workload, checkpoint), container) as (archive, name):
        with counting(f"exporting {name}", exporting.size_of(archive.manifest, form)) as on_write:
            done = exporting.export(archive, to, form, force=force, on_write=on_write)
        target = archive.manifest.target
    if output.is_data:
        print_data({
            "file": str(done.path), "format": done.form.value, "size": done.size, "digest": done.digest,
            "image": done.reference, "checkpoint": archive.manifest.checkpoint_id,
            "workload": str(archive.manifest.workload), "pod": target.pod, "container": target.container,
        }, output)  # fmt: skip
        return
    what = f" as {done.reference}" if form is Form.oci else ""
    say(f"{name} (pod {target.pod}, container {target.container}){what} is in {done.path}: {size(done.size)}, {done.digest}.")
    say("It is the process's memory, unencrypted: secrets too. Keep it as you keep those.", "yellow")


def _named(workload: str, checkpoint: str) -> WorkloadName:
    name = workload_name(workload)
    if checkpoint and name.checkpoint not in ("", checkpoint):
        raise typer.BadParameter(f"{workload} and --checkpoint {checkpoint} name two checkpoints")
    return replace(name, checkpoint=checkpoint or name.checkpoint)
