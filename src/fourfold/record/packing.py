"""Files of lines compressed: `rows-0.jsonl.xz` holds the bytes of `rows-0.jsonl`, and is read wherever that is.

Where both are there, as after a crash between the writing of one and the removal of the other, the plain one counts.
"""

import lzma
from collections.abc import Callable
from pathlib import Path

from fourfold.record.files import read_file, sync_folder, write_atomically

PACKED = ".xz"
"""The end of the name of a packed file."""

PRESET = 6
"""Of LZMA: 60 MB of rows become 11.3 MB, as with preset 9, and 14.2 MB with gzip; reading them takes 0.75 s and 0.3 s."""

_MOST_MEMORY = 2**27
"""Bytes that a packed file may ask for to be read; those of our preset ask for 9 MB."""

ReadFile = Callable[[Path, int], bytes]
"""Returns the content of a file of at most so many bytes."""


def packed_form(file: Path) -> Path:
    """Return where a file lies when it is packed."""
    return file.with_name(file.name + PACKED)


def is_packed(file: Path) -> bool:
    """Whether a file has the name of a packed one."""
    return file.name.endswith(PACKED)


def plain_form(file: Path) -> Path:
    """Return where a file lies when it is not packed."""
    return file.with_name(file.name.removesuffix(PACKED))


def read_either(file: Path, most_bytes: int, read: ReadFile = read_file) -> tuple[Path, bytes]:
    """Return which form of a file is there, and its content, which is not packed.

    Args:
        file: The plain form.
        most_bytes: How long the content may be.
        read: Reads a file.

    Raises:
        OSError: neither is there, or the one that counts cannot be read.
    """
    try:
        return file, read(file, most_bytes)
    except FileNotFoundError as missing:
        packed = packed_form(file)
        try:
            content = read(packed, most_bytes)
        except (FileNotFoundError, NotADirectoryError):
            raise missing from None
        return packed, decompressed(content, most_bytes)


def compressed(content: bytes) -> bytes:
    """Return a content packed: the same bytes for the same content."""
    return lzma.compress(content, preset=PRESET)


def decompressed(content: bytes, most_bytes: int) -> bytes:
    """Return what was packed, in no more memory than it may take.

    Raises:
        OSError: it is damaged, cut off, or has more than `most_bytes`.
    """
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
    try:
        plain = stream.decompress(content, most_bytes + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise OSError(f"it is no whole packed file: {error}") from error
    if len(plain) > most_bytes:
        raise OSError(f"it holds more than the {most_bytes} bytes that are right")
    if not stream.eof or stream.unused_data:
        raise OSError(f"it is no whole packed file: {'it has more after its end' if stream.eof else 'it is cut off'}")
    return plain


def pack_lines(file: Path, most_bytes: int) -> tuple[int, int]:
    """Put the packed form of a file in its place, once that was read back; return how many bytes both have.

    Raises:
        OSError: it cannot be read, or the other cannot be written.
    """
    content = read_file(file, most_bytes)
    packed = compressed(content)
    write_atomically(packed_form(file), packed, read_back=True)
    if decompressed(packed, most_bytes) != content:
        raise OSError("another content was unpacked than was packed")
    file.unlink()
    sync_folder(file.parent)
    return len(content), len(packed)


def unpack_lines(file: Path, most_bytes: int) -> bool:
    """Put the plain form of a file in the place of its packed one, if that is there alone; return whether it was.

    Raises:
        OSError: it cannot be read, or the other cannot be written.
    """
    packed = packed_form(file)
    if not packed.exists():
        return False
    is_alone = not file.exists()
    if is_alone:
        write_atomically(file, decompressed(read_file(packed, most_bytes), most_bytes), read_back=True)
    packed.unlink()
    sync_folder(file.parent)
    return is_alone
