"""The key-value cache of sampling: it grows by blocks, and rows leave it layer by layer."""

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

CHUNK = 32  # tokens of room: copying the cache for each new token would cost more than the token


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A key-value cache layer that grows by blocks instead of being copied at every token.

    `_room` holds keys and values with room for more tokens; `keys` and `values` are views of what
    is filled. Sizes of keys and values may differ, as in latent attention.
    """

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values, shape (rows, heads, new, size), and return all so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._fill((key_states, value_states), key_states.shape[-2])
            return self.keys, self.values
        start, new = self.keys.shape[-2], key_states.shape[-2]
        moved = self._room[0].data_ptr() != self.keys.data_ptr()  # rows were repeated or reordered
        if moved or self._room[0].shape[-2] < start + new:
            room = _grown(self.keys, new + CHUNK), _grown(self.values, new + CHUNK)
        else:
            room = self._room
        room[0][:, :, start : start + new] = key_states
        room[1][:, :, start : start + new] = value_states
        self._fill(room, start + new)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows, and let go of the old room at once.

        Were it kept until the next token comes, all layers would be there twice: 1.89 times the
        cache when 89 % of the rows stay.
        """
        if self.is_initialized:
            length = self.keys.shape[-2]
            held = self._room if self._room[0].data_ptr() == self.keys.data_ptr() else None
            keys, values = held or (self.keys, self.values)
            self._fill((keys.index_select(0, indices), values.index_select(0, indices)), length)

    def _fill(self, room: tuple[Tensor, Tensor], length: int) -> None:
        """Hold a room, filled up to so many tokens."""
        self._room = room
        self.keys, self.values = (states[:, :, :length] for states in room)


def _grown(states: Tensor, more: int) -> Tensor:
    """Copy states, shape (rows, heads, length, size), into room for more tokens."""
    rows, heads, length, size = states.shape
    room = states.new_empty(rows, heads, length + more, size)
    room[:, :, :length] = states
    return room


class RoomyCache(DynamicCache):  # type: ignore[misc]
    """A cache of roomy layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = [RoomyLayer() for _ in range(layers)]
