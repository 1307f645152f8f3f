"""A turn of a conversation: its `role` and its `content`."""

from collections.abc import Mapping

Message = Mapping[str, str]
