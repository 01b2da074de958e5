"""Finds damage, names the checkpoints that it touches, and heals from a node's own copies what it can."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from reprise.archive.collector import doom, lineages, parse
from reprise.archive.crypto import Cipher, KeyUnavailable
from reprise.archive.damage import Copies, Finding
from reprise.archive.keyring import Keyring
from reprise.archive.layout import Lineage, last
from reprise.archive.manifest import Manifest, PackRef
from reprise.archive.pack import (
    HEAD,
    TRAILER,
    footer_length,
    open_chunk,
    open_footer,
    read_footer,
)
from reprise.archive.reader import read_recipe
from reprise.archive.recipe import BadDocument, Footer, Recipe
from reprise.archive.store import Store
from reprise.contracts.errors import DamagedObject, NotStored


@dataclass
class _Pack:
    """size and footer as the manifests say. chunks: (offset, stored, size, flags) by ordinal, as recipes refer to them."""

    ref: PackRef
    users: dict[int, set[str]] = field(default_factory=dict)
    chunks: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    checkpoints: set[str] = field(default_factory=set)


class Checker:
    """Raises StoreUnavailable only: damage is what it finds."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store, self._keyring = store, keyring

    def check(self, *, read_data: bool, namespace: str = "") -> Iterator[Finding]:
        """Without read_data: everything but the chunks themselves. A pack is read once, in memory."""
        for lineage in lineages(self._store, namespace):
            yield from self._lineage(lineage, read_data)

    def _lineage(self, lineage: Lineage, read_data: bool) -> Iterator[Finding]:
        packs: dict[str, _Pack] = {}
        for entry in self._store.list(lineage.archives):
            if entry.key.endswith("/manifest.json"):
                yield from self._manifest(lineage, entry.key, packs)
        sizes = {last(entry.key): entry.size for entry in self._store.list(lineage.packs)}
        for pack in packs.values():
            yield from self._pack(lineage, pack, sizes.get(pack.ref.id), read_data)

    def _manifest(self, lineage: Lineage, key: str, packs: dict[str, _Pack]) -> Iterator[Finding]:
        checkpoint_id = key.split("/")[-2]
        try:
            manifest = parse(self._store.get(key), key)
        except NotStored:
            return
        except DamagedObject as error:
            yield Finding("damaged-manifest", key, lineage, (checkpoint_id,), error.message)
            return
        if manifest is None:
            return
        for ref in manifest.packs:
            packs.setdefault(ref.id, _Pack(ref)).checkpoints.add(checkpoint_id)
        try:
            _note(packs, manifest, read_recipe(self._store, self._keyring, manifest))
        except KeyUnavailable as error:
            yield Finding("wrong-key", error.subject or key, lineage, (checkpoint_id,), error.message)
        except DamagedObject as error:
            yield Finding("damaged-recipe", manifest.recipe_key, lineage, (checkpoint_id,), error.message)

    def _pack(self, lineage: Lineage, pack: _Pack, size: int | None, read_data: bool) -> Iterator[Finding]:
        key, touched = lineage.pack(pack.ref.id), tuple(sorted(pack.checkpoints))
        if size is None:
            yield Finding("lost-pack", key, lineage, touched, "it is not in the store")
            return
        if size != pack.ref.size:
            yield Finding("truncated-pack", key, lineage, touched, f"it has {size} bytes of {pack.ref.size}")
            return
        try:
            data_key = self._keyring.data_key(lineage)
            if read_data:
                yield from self._chunks(lineage, pack, self._store.get(key), data_key)
            else:
                yield from _missing(lineage, pack, read_footer(self._store, lineage, data_key, pack.ref)[0])
        except KeyUnavailable as error:
            yield Finding("wrong-key", error.subject or key, lineage, touched, error.message)
        except (DamagedObject, NotStored) as error:
            yield Finding("damaged-pack", key, lineage, touched, error.message)

    def _chunks(self, lineage: Lineage, pack: _Pack, body: bytes, data_key: bytes) -> Iterator[Finding]:
        footer = whole_footer(body, lineage, data_key, pack.ref)
        yield from _missing(lineage, pack, footer)
        for ordinal, what in bad_chunks(body, footer, Cipher(data_key, str(lineage), pack.ref.id)):
            touched = tuple(sorted(pack.users.get(ordinal, ())))
            yield Finding("damaged-chunk", lineage.pack(pack.ref.id), lineage, touched, what, ordinal)

    def repair(self, findings: list[Finding], copies: Copies | None) -> list[str]:
        """Upload the packs among findings that copies still has undamaged, and doom the others: no later checkpoint is to
        refer to them. Returns the keys of those that were uploaded.
        """
        healed = []
        broken = ("lost-pack", "truncated-pack", "damaged-pack", "damaged-chunk", "missing-chunk")
        for key, lineage in {f.key: f.lineage for f in findings if f.kind in broken}.items():
            body = copies.read(key) if copies else None
            if body is not None and self._is_whole(body, lineage, last(key)):
                self._store.put(key, body)
                healed.append(key)
            else:
                doom(self._store, lineage, last(key))
        return healed

    def heal(self, manifest: Manifest, copies: Copies) -> list[str]:
        """Upload what copies has undamaged of the checkpoint's packs and the store has otherwise. Returns their keys."""
        healed = []
        for ref in manifest.packs:
            key = manifest.lineage.pack(ref.id)
            body = copies.read(key)
            if body is None or self._has(key, body) or not self._is_whole(body, manifest.lineage, ref.id):
                continue
            try:
                self._store.size(manifest.key)
            except NotStored:  # pruned meanwhile: what was collected does not come back
                break
            self._store.put(key, body)
            healed.append(key)
        return healed

    def _has(self, key: str, body: bytes) -> bool:
        try:
            return self._store.get(key) == body
        except NotStored:
            return False

    def _is_whole(self, body: bytes, lineage: Lineage, pack_id: str) -> bool:
        try:
            data_key = self._keyring.data_key(lineage)
            footer = whole_footer(body, lineage, data_key, PackRef(id=pack_id, size=len(body), footer=0))
        except DamagedObject:
            return False
        return not any(bad_chunks(body, footer, Cipher(data_key, str(lineage), pack_id)))


def _note(packs: dict[str, _Pack], manifest: Manifest, recipe: Recipe) -> None:
    for pack_index, ordinal, offset, stored, size, flags in recipe.chunks.tolist():
        pack = packs[manifest.packs[pack_index].id]
        pack.users.setdefault(ordinal, set()).add(manifest.checkpoint_id)
        pack.chunks[ordinal] = (offset, stored, size, flags)


def _missing(lineage: Lineage, pack: _Pack, footer: Footer) -> Iterator[Finding]:
    rows = footer.chunks.tolist()
    for ordinal, wanted in pack.chunks.items():
        if ordinal >= len(rows) or tuple(rows[ordinal][:4]) != wanted:
            touched = tuple(sorted(pack.users[ordinal]))
            detail = "a recipe refers to a chunk that the pack does not have"
            yield Finding("missing-chunk", lineage.pack(pack.ref.id), lineage, touched, detail, ordinal)


def whole_footer(body: bytes, lineage: Lineage, data_key: bytes, ref: PackRef) -> Footer:
    """The footer of a whole pack in memory. Raises DamagedObject."""
    length = footer_length(body, lineage, ref)
    end = len(body) - TRAILER.size
    return open_footer(body[end - length : end], lineage, data_key, ref.id)


def bad_chunks(body: bytes, footer: Footer, cipher: Cipher) -> Iterator[tuple[int, str]]:
    """(ordinal, what is wrong) of each chunk that cannot be read."""
    view = memoryview(body)
    if view[: len(HEAD)] != HEAD:
        yield 0, "the pack's head is damaged"
    for ordinal, (offset, stored, size, flags, _) in enumerate(footer.chunks.tolist()):
        try:
            open_chunk(cipher, ordinal, view[offset : offset + stored], size, flags)
        except InvalidTag:
            yield ordinal, "it does not decrypt: a bit flipped, or it is from elsewhere"
        except BadDocument as error:
            yield ordinal, str(error)
