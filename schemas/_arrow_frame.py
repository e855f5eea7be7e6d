"""The frame of an Arrow IPC stream: whether a message is one, whole, and nothing else.

A stream is a row of parts: a mark, the size of its metadata, the metadata, a body. The first is
the schema; a part without metadata ends it. pyarrow reads what is inside; but it would take a
stream that was cut between two parts, ignore what stands behind the end, and unpack compressed
bodies of any size, so that is looked at here first.

References
----------
Arrow Columnar Format 1.5, "Encapsulated message format" and Message.fbs.
"""

import struct
from typing import Final

from schemas.strict_json import Fault

MARK: Final = b"\xff\xff\xff\xff"
FILE_MAGIC: Final = b"ARROW1"
END_SIZE: Final = 8  # of the part that ends a stream: its mark and a size of zero
_HEAD_SIZE: Final = 8
_PARTS_MAX: Final = 4_096
# Numbers of fields in the metadata's tables.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_DATA_OF_DICTIONARY, _COMPRESSION = 1, 3
_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3
_U8: Final = struct.Struct("<B")
_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_I32: Final = struct.Struct("<i")
_I64: Final = struct.Struct("<q")


def broken(got: str) -> Fault:
    """Return what is said of a message that is no stream we can read."""
    return Fault("bad_arrow", "one whole Arrow IPC stream, uncompressed", got)


def check_frame(value: bytes) -> int:
    """Check a message's frame; return where its first part, the schema, ends.

    Raises
    ------
    Fault
        If the message is not one whole, uncompressed stream.
    """
    if not value.startswith(MARK):
        raise broken(_describe_start(value))
    at = schema_end = 0
    try:
        for _ in range(_PARTS_MAX):
            if value[at : at + len(MARK)] != MARK:
                raise broken(f"no part at byte {at:,}" if at < len(value) else "no end of stream")
            (size,) = _U32.unpack_from(value, at + len(MARK))
            at += _HEAD_SIZE
            if size == 0:
                break
            at += size + _body_size(value[at : at + size])
            schema_end = schema_end or at
        else:
            raise broken(f"more than {_PARTS_MAX:,} parts")
    except struct.error:
        raise broken("a stream that was cut") from None
    if at != len(value):
        raise broken("a stream that was cut" if at > len(value) else "something behind the stream")
    return schema_end


def _describe_start(value: bytes) -> str:
    if not value:
        return "an empty message"
    if value.startswith(FILE_MAGIC):
        return "an Arrow file; send the stream format"
    return f"a message that begins {value[:12]!r}"


def _body_size(metadata: bytes) -> int:
    """Return the size of a part's body, having looked whether it is compressed."""
    (root,) = _U32.unpack_from(metadata)
    header_at = _field(metadata, root, _HEADER_TYPE)
    header_type = _U8.unpack_from(metadata, header_at)[0] if header_at else 0
    table = _table(metadata, root, _HEADER)
    if header_type == _DICTIONARY_BATCH and table:
        table = _table(metadata, table, _DATA_OF_DICTIONARY)
    has_buffers = header_type in {_DICTIONARY_BATCH, _RECORD_BATCH} and table
    if has_buffers and _field(metadata, table, _COMPRESSION):
        raise broken("compressed buffers; let Kafka compress the message instead")
    size_at = _field(metadata, root, _BODY_LENGTH)
    size: int = _I64.unpack_from(metadata, size_at)[0] if size_at else 0
    if size < 0:
        raise broken("a body of negative size")
    return size


def _field(metadata: bytes, table: int, number: int) -> int:
    """Return where a field of a table stands; 0 if the table does not have it."""
    (back,) = _I32.unpack_from(metadata, table)
    directory = table - back
    if directory < 0:
        raise broken("metadata that point outside themselves")
    (size,) = _U16.unpack_from(metadata, directory)
    slot = 4 + 2 * number
    if slot + 2 > size:
        return 0
    (place,) = _U16.unpack_from(metadata, directory + slot)
    return table + place if place else 0


def _table(metadata: bytes, table: int, number: int) -> int:
    """Return where the table that a field refers to stands; 0 if there is none."""
    at = _field(metadata, table, number)
    if at == 0:
        return 0
    (forward,) = _U32.unpack_from(metadata, at)
    return int(at + forward)
