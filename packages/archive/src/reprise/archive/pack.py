"""A pack: chunks one after another, each encrypted by itself, and a footer that lists them.

head (16 bytes) | chunk 0 | chunk 1 | ... | footer | trailer (16 bytes: magic, length of the footer, version)
A pack can be read without a manifest, which is how the packs of an interrupted upload are found and used again.
"""

import struct
import threading

import zstandard
from cryptography.exceptions import InvalidTag
from reprise.archive.crypto import TAG, Cipher
from reprise.archive.damage import REMEDY
from reprise.archive.layout import Lineage
from reprise.archive.manifest import PackRef
from reprise.archive.recipe import COMPRESSED, MAX_CHUNK, BadDocument, Footer, decode_footer
from reprise.archive.store import Store
from reprise.contracts.errors import DamagedObject

HEAD = b"RPPACK01" + bytes(8)
TRAILER = struct.Struct("<8sII")
TRAILER_MAGIC = b"RPPACKE1"
TAIL = 1 << 16
"""Bytes that are read from the end of a pack whose footer's length is not known."""
MAX_FOOTER = 8 << 20
CHUNK, FOOTER = b"chunk", b"footer"
_local = threading.local()


def trailer(footer_size: int) -> bytes:
    return TRAILER.pack(TRAILER_MAGIC, footer_size, 1)


def damaged_pack(lineage: Lineage, pack_id: str, what: str, checkpoint_id: str = "") -> DamagedObject:
    """The error that names checkpoint, pack and chunk."""
    whose = f"checkpoint {checkpoint_id}: " if checkpoint_id else ""
    return DamagedObject(f"{whose}pack {pack_id}: {what}", subject=str(lineage), remedy=REMEDY)


def read_footer(store: Store, lineage: Lineage, data_key: bytes, ref: PackRef) -> tuple[Footer, PackRef]:
    """The footer, and the reference with its length. ref.footer 0: not known. Raises DamagedObject, NotStored."""
    want = min(ref.size, ref.footer + TRAILER.size if ref.footer else TAIL)
    tail = store.get(lineage.pack(ref.id), ref.size - want, want)
    length = footer_length(tail, lineage, ref)
    if length + TRAILER.size > len(tail):
        tail = store.get(lineage.pack(ref.id), ref.size - length - TRAILER.size, length + TRAILER.size)
    sealed = tail[len(tail) - TRAILER.size - length : len(tail) - TRAILER.size]
    return open_footer(sealed, lineage, data_key, ref.id), PackRef(id=ref.id, size=ref.size, footer=length)


def footer_length(tail: bytes, lineage: Lineage, ref: PackRef) -> int:
    """Of the footer, as the trailer at the end of tail says. Raises DamagedObject."""
    if len(tail) < TRAILER.size:
        raise damaged_pack(lineage, ref.id, "it is cut off")
    magic, length, version = TRAILER.unpack_from(tail, len(tail) - TRAILER.size)
    if (magic, version) != (TRAILER_MAGIC, 1) or not TAG <= length <= min(MAX_FOOTER, ref.size - TRAILER.size - len(HEAD)):
        raise damaged_pack(lineage, ref.id, "it has no trailer: it is cut off, or was overwritten")
    return int(length)


def open_footer(sealed: bytes, lineage: Lineage, data_key: bytes, pack_id: str) -> Footer:
    """Raises DamagedObject."""
    try:
        return decode_footer(Cipher(data_key, str(lineage), pack_id).decrypt(Cipher.FOOTER, sealed, FOOTER))
    except InvalidTag as error:
        raise damaged_pack(
            lineage, pack_id, "its footer does not decrypt: damaged, of another workload, or another key"
        ) from error
    except BadDocument as error:
        raise damaged_pack(lineage, pack_id, f"its footer cannot be read: {error}") from error


def open_chunk(cipher: Cipher, ordinal: int, sealed: bytes | memoryview, size: int, flags: int) -> bytes:
    """The chunk's bytes. Raises InvalidTag or BadDocument."""
    plain = _decompressed(cipher, ordinal, sealed, size) if flags & COMPRESSED else cipher.decrypt(ordinal, sealed, CHUNK)
    if len(plain) != size:
        raise BadDocument(f"it holds {len(plain)} bytes instead of {size}")
    return plain


def _decompressed(cipher: Cipher, ordinal: int, sealed: bytes | memoryview, size: int) -> bytes:
    """Decrypted into a buffer that this thread keeps: fresh memory for each chunk costs three times the decryption."""
    if not hasattr(_local, "decompressor"):
        _local.decompressor, _local.buffer = zstandard.ZstdDecompressor(), bytearray()
    if len(_local.buffer) < len(sealed):
        _local.buffer = bytearray(len(sealed))
    frame = memoryview(_local.buffer)[: max(len(sealed) - TAG, 0)]
    cipher.decrypt_into(ordinal, sealed, frame, CHUNK)
    try:
        told = zstandard.frame_content_size(frame)
        if told != size or size > MAX_CHUNK:
            raise BadDocument(f"it holds {told} bytes instead of {size}")
        plain: bytes = _local.decompressor.decompress(frame)
    except zstandard.ZstdError as error:
        raise BadDocument(f"it cannot be decompressed: {error}") from error
    return plain
