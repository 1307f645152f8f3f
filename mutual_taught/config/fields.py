"""What blocks of `params.yaml` are made of: the base class, ranges and checks of single values."""

import datetime
from pathlib import PurePath
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Natural = Annotated[int, Field(ge=0)]
Dtype = Literal["float32", "bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]


def is_day(text: str) -> bool:
    """Say whether a text is a day of the calendar, as YYYY-MM-DD."""
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def under(folder: str, path: str) -> bool:
    """Tell whether a path, as it is written, names something inside a folder of the project."""
    parts, begin = PurePath(path).parts, PurePath(folder).parts
    inside = parts[: len(begin)] == begin and len(parts) > len(begin)
    return inside and ".." not in parts and not PurePath(path).is_absolute()


class Block(BaseModel):
    """A block of params.yaml: every key is needed, an unknown one is refused.

    `free` are keys that decide no result: no provenance, no fingerprint and no stage has them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    key: ClassVar[str] = ""
    free: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def decisive(cls) -> list[str]:
        """Name the keys that decide a result, in order."""
        return [name for name in cls.model_fields if name not in cls.free]
