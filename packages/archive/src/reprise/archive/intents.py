"""An upload's intent: written before it trusts any stored pack, removed after its commit.

It keeps the packs that it names, and those whose ids begin with its writer's id, from being collected. Two rules make that
safe without any clock (the argument is in docs/format.md):
- the writer first writes its intent, then reads which packs are doomed or gone, and uses none of those;
- the collector first dooms, then reads intents, then manifests, and deletes what none of them names.
"""

import os

from pydantic import BaseModel, ConfigDict, ValidationError
from reprise.archive.layout import Lineage
from reprise.archive.store import Store
from reprise.contracts.errors import DamagedObject, NotStored


class Intent(BaseModel):
    """writer_id: 32 hex digits, new for each attempt. reuses: ids of stored packs that the checkpoint may refer to."""

    model_config = ConfigDict(frozen=True)

    writer_id: str
    checkpoint_id: str
    node: str
    reuses: tuple[str, ...] = ()

    def covers(self, pack_id: str) -> bool:
        return pack_id in self.reuses or pack_id.startswith(f"{self.writer_id}-")


def new_writer_id() -> str:
    return os.urandom(16).hex()


def declare(store: Store, lineage: Lineage, intent: Intent) -> None:
    store.put(f"{lineage.intents}{intent.writer_id}.json", intent.model_dump_json().encode())


def withdraw(store: Store, lineage: Lineage, writer_id: str) -> None:
    store.delete(f"{lineage.intents}{writer_id}.json")


def read_intents(store: Store, lineage: Lineage) -> list[Intent]:
    """Those of uploads that have not ended. Raises DamagedObject for one that cannot be read: what it protects is unknown."""
    found = []
    for entry in store.list(lineage.intents):
        try:
            found.append(Intent.model_validate_json(store.get(entry.key)))
        except NotStored:
            continue  # it ended meanwhile
        except ValidationError as error:
            raise DamagedObject("it is no intent", subject=entry.key) from error
    return found
