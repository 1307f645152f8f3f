"""TODO."""

from collections.abc import Mapping

Message = Mapping[str, str]
