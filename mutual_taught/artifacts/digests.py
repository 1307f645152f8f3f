"""Digests of columns: of only their values, whatever the chunks, buffers and metadata."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mutual_taught.keys import string_bytes

Feed = Callable[[Any], object]  # of bytes, or an array of them


def column_sha256(column: pa.ChunkedArray) -> str:
    """Hash a column's type and values: numbers, booleans, strings, lists and structs of them.

    What is hashed is the type, the validity where there are nulls, the lengths of strings and
    lists, then the values in little-endian order.

    Raises:
        TypeError: a type that the tables do not have.
    """
    hasher = hashlib.sha256()
    _feed(hasher.update, column.chunks, column.type)
    return hasher.hexdigest()


def _feed(feed: Feed, chunks: Sequence[pa.Array], kind: pa.DataType) -> None:
    feed(f"{_name(kind)} {sum(map(len, chunks))}\n".encode())
    if any(chunk.null_count for chunk in chunks):
        for chunk in chunks:
            feed(chunk.is_valid().to_numpy(zero_copy_only=False))
    if pa.types.is_list(kind):
        for chunk in chunks:
            feed(_filled(pc.list_value_length(chunk), 0).to_numpy())
        _feed(feed, [chunk.flatten() for chunk in chunks], kind.value_type)
    elif pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            field = kind.field(place)
            feed(f"{field.name}\n".encode())
            _feed(feed, [chunk.flatten()[place] for chunk in chunks], field.type)
    elif pa.types.is_string(kind):
        filled = [_filled(chunk, "") for chunk in chunks]
        for chunk in filled:
            feed(pc.binary_length(chunk).to_numpy())
        for chunk in filled:
            feed(string_bytes(chunk))
    elif pa.types.is_boolean(kind):
        for chunk in chunks:
            feed(_filled(chunk, False).to_numpy(zero_copy_only=False))
    else:
        for chunk in chunks:
            feed(_filled(chunk, 0).to_numpy())


def _filled(values: pa.Array, filling: str | float) -> pa.Array:
    return pc.fill_null(values, filling) if values.null_count else values


def _name(kind: pa.DataType) -> str:
    """Name a type; Arrow's own spelling of lists holds their child's name, which files change."""
    if pa.types.is_list(kind) or pa.types.is_struct(kind):
        return "list" if pa.types.is_list(kind) else "struct"
    if kind in (pa.string(), pa.bool_()) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return str(kind)
    raise TypeError(f"no digest for columns of {kind}")
