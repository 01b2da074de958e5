"""Removes packs and recipes that nothing refers to. Safe against uploads and other collectors at any interleaving, without
trusting any clock; docs/format.md has the argument. In short:

- What is doomed stays doomed: no writer uses it again, so that what is unreferenced now is so for ever.
- Doom first, then look who refers to it: intents first, then manifests, as a writer leaves its intent after its commit.
- An upload that was given up is first kept from ever committing: a tombstone takes its manifest's place.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import ValidationError
from reprise.archive.intents import Intent, read_intents, withdraw
from reprise.archive.layout import Lineage, last
from reprise.archive.manifest import Manifest, Tombstone
from reprise.archive.store import Store
from reprise.contracts.errors import DamagedObject, NotStored

GIVEN_UP_AFTER = timedelta(hours=6)
"""An intent this old is of an upload that died. Too short, and slow uploads fail; it decides nothing about safety."""
TOMBSTONE = Tombstone(given_up=True).model_dump_json().encode()
TOMBSTONE_KEPT = timedelta(days=30)


@dataclass
class Collected:
    """Sizes in bytes. skipped: why a lineage was left alone."""

    packs: list[str] = field(default_factory=list)
    recipes: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    freed: int = 0
    kept: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class References:
    """What intents and manifests name."""

    intents: tuple[Intent, ...]
    packs: frozenset[str]
    recipes: frozenset[str]

    def to_pack(self, pack_id: str) -> bool:
        return pack_id in self.packs or any(intent.covers(pack_id) for intent in self.intents)

    def to_recipe(self, key: str) -> bool:
        writer_id = last(key).removeprefix("recipe-")
        return key in self.recipes or any(intent.writer_id == writer_id for intent in self.intents)


def references(store: Store, lineage: Lineage) -> References:
    """Intents first, then manifests: see above. Raises DamagedObject if one cannot be read: then nothing may be removed."""
    intents = tuple(read_intents(store, lineage))
    packs, recipes = set[str](), set[str]()
    for entry in store.list(lineage.archives):
        if not entry.key.endswith("/manifest.json"):
            continue
        try:
            manifest = parse(store.get(entry.key), entry.key)
        except NotStored:
            continue  # pruned meanwhile
        if manifest:
            packs.update(ref.id for ref in manifest.packs)
            recipes.add(manifest.recipe_key)
    return References(intents, frozenset(packs), frozenset(recipes))


def parse(body: bytes, key: str) -> Manifest | None:
    """The manifest; None for a tombstone. Raises DamagedObject."""
    try:
        return Manifest.model_validate_json(body)
    except ValidationError as error:
        try:
            Tombstone.model_validate_json(body)
        except ValidationError:
            raise DamagedObject(f"not a manifest: {error.errors()[0]['msg']}", subject=key) from error
    return None


def collect(store: Store, lineage: Lineage, now: datetime, *, dry_run: bool = False, done: Collected | None = None) -> Collected:
    """One pass. now: to tell old intents from new ones. Interrupted anywhere, the next pass goes on."""
    done = done or Collected()
    try:
        if not dry_run:
            _give_up(store, lineage, now, done)
        doomed = {last(entry.key) for entry in store.list(lineage.doomed)}
        packs = {last(entry.key): entry.size for entry in store.list(lineage.packs)}
        before = references(store, lineage)
        candidates = {pack_id for pack_id in packs if pack_id in doomed or not before.to_pack(pack_id)}
        if not dry_run:
            for pack_id in candidates - doomed:
                doom(store, lineage, pack_id)
        after = references(store, lineage)
        for pack_id in sorted(candidates | doomed):
            if after.to_pack(pack_id):
                continue
            if not dry_run:
                store.delete(lineage.pack(pack_id))
                store.delete(lineage.doomed + pack_id)
            if pack_id in packs:
                done.packs.append(pack_id)
                done.freed += packs[pack_id]
        done.kept += sum(size for pack_id, size in packs.items() if after.to_pack(pack_id))
        _remove_recipes(store, lineage, dry_run, done)
    except DamagedObject as error:
        done.skipped[str(lineage)] = f"nothing is removed while it is not known what this refers to: {error}"
    return done


def doom(store: Store, lineage: Lineage, pack_id: str) -> None:
    """No later upload uses this pack; checkpoints that refer to it keep it. Anybody may at any time: it is what a collector
    does to a pack that it then finds in use, and costs that what is in it is stored again.
    """
    store.put(lineage.doomed + pack_id, b"")


def _remove_recipes(store: Store, lineage: Lineage, dry_run: bool, done: Collected) -> None:
    """Of uploads that ended without a commit. A recipe's name ends in its writer's id, and a writer never comes back."""
    found = [entry for entry in store.list(lineage.archives) if last(entry.key).startswith("recipe-")]
    named = references(store, lineage)
    for entry in found:
        if not named.to_recipe(entry.key):
            if not dry_run:
                store.delete(entry.key)
            done.recipes.append(entry.key)
            done.freed += entry.size


def _give_up(store: Store, lineage: Lineage, now: datetime, done: Collected) -> None:
    for entry in store.list(lineage.intents):
        if now - entry.modified < GIVEN_UP_AFTER:
            continue
        try:
            intent = Intent.model_validate_json(store.get(entry.key))
        except NotStored:
            continue
        except ValidationError as error:
            raise DamagedObject("it is no intent", subject=entry.key) from error
        key = lineage.manifest(intent.checkpoint_id)
        if store.create(key, TOMBSTONE):
            done.given_up.append(intent.checkpoint_id)
        if _cannot_commit(store, key, intent):
            withdraw(store, lineage, intent.writer_id)
    for entry in store.list(lineage.archives):
        old = entry.key.endswith("/manifest.json") and entry.size < 100 and now - entry.modified > TOMBSTONE_KEPT
        if old and parse(store.get(entry.key), entry.key) is None:
            store.delete(entry.key)


def _cannot_commit(store: Store, key: str, intent: Intent) -> bool:
    """Whether what is in the manifest's place keeps this writer from committing for good: a tombstone, or its own commit.

    The commit of a twin does not: when retention removes that, the place is free again. Then remove() puts a tombstone there.
    """
    try:
        manifest = parse(store.get(key), key)
    except NotStored:
        return False
    return manifest is None or last(manifest.recipe_key) == f"recipe-{intent.writer_id}"


def remove(store: Store, manifest: Manifest) -> None:
    """Remove a checkpoint: its manifest first, then its recipe. Where an upload of the same checkpoint may still sleep, a
    tombstone keeps it from committing when it wakes: its packs may be gone by then.
    """
    twins = [i for i in read_intents(store, manifest.lineage) if i.checkpoint_id == manifest.checkpoint_id]
    if twins:
        store.put(manifest.key, TOMBSTONE)
    else:
        store.delete(manifest.key)
    store.delete(manifest.recipe_key)


def lineages(store: Store, namespace: str = "") -> list[Lineage]:
    """All, or all of one namespace, that have anything in the store."""
    found = set[Lineage]()
    for prefix in ("archives/", "packs/", "intents/", "doomed/"):
        for entry in store.list(f"{prefix}{namespace}/" if namespace else prefix):
            parts = entry.key.split("/")
            if len(parts) >= 5:
                found.add(Lineage(parts[1], parts[2], parts[3]))
    return sorted(found, key=str)
