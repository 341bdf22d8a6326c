"""The state that a causal SHA-RNN carries between windows: LSTM states, and the memory of each attention layer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch


class _Buffer:
    """Storage shared by memories that extend each other; rows below `filled` are never written again."""

    def __init__(self, like: torch.Tensor, capacity: int):
        self.rows = like.new_empty(*like.shape[:2], capacity, like.shape[3])
        self.filled = 0

    def write(self, start: int, rows: torch.Tensor) -> int:
        """Write rows at position `start` and return the position after them."""
        # Autograd may have saved views of earlier rows; `data` keeps it from taking the write for a change of them.
        self.filled = start + rows.shape[2]
        self.rows.data[:, :, start : self.filled] = rows
        return self.filled


@dataclass(frozen=True)
class Memory:
    """The last `size` positions that an attention layer saw; immutable.

    `append` writes in place after the newest position, so a window copies only its own positions. The remembered
    positions move to a new buffer only when the buffer is full, or when one memory is extended twice.
    """

    size: int
    buffer: _Buffer | None = None
    begin: int = 0
    end: int = 0

    def __len__(self) -> int:
        return self.end - self.begin

    def rows(self) -> torch.Tensor | None:
        """Return a view of the remembered rows (batch, head, position, hidden / head); None if there are none."""
        return self.buffer.rows[:, :, self.begin : self.end] if self.buffer is not None and len(self) else None

    def keep(self, n_positions: int) -> "Memory":
        """Return the newest `n_positions` of this memory, or all if it has fewer."""
        return replace(self, begin=max(self.begin, self.end - max(n_positions, 0)))

    def append(self, rows: torch.Tensor) -> "Memory":
        """Return the memory extended by `rows` (batch, head, position, hidden / head), which are detached."""
        if not self.size:
            return self
        rows = rows.detach()[:, :, -self.size :]
        kept = self.keep(self.size - rows.shape[2])
        earlier, buffer, begin, end = kept.rows(), kept.buffer, kept.begin, kept.end
        full = buffer is not None and (end < buffer.filled or end + rows.shape[2] > buffer.rows.shape[2])
        if buffer is None or earlier is None or full:
            # Room for half a memory more, so that positions are moved once per half memory.
            buffer = _Buffer(rows if earlier is None else earlier, self.size + max(self.size // 2, rows.shape[2]))
            begin, end = 0, 0 if earlier is None else buffer.write(0, earlier)
        return Memory(self.size, buffer, begin, buffer.write(end, rows))


@dataclass(frozen=True)
class BlockState:
    """A block's LSTM state (hidden and cell, each (1, batch, hidden); None before the first window) and memory."""

    lstm: tuple[torch.Tensor, torch.Tensor] | None
    memory: Memory


@dataclass(frozen=True)
class ShaRnnState:
    """The state of all blocks, to be passed to the next window."""

    blocks: tuple[BlockState, ...]

    @classmethod
    def empty(cls, n_blocks: int, memory_size: int) -> "ShaRnnState":
        """Return the state before any text."""
        return cls((BlockState(None, Memory(memory_size)),) * n_blocks)

    def without_memory(self) -> "ShaRnnState":
        """Return the same LSTM states with empty memories; the paper calls this "back off"."""
        return ShaRnnState(tuple(replace(block, memory=Memory(block.memory.size)) for block in self.blocks))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors by name: `lstm_h.0`, `lstm_c.0`, `memory.2`, `place.2` (its position, the capacity)."""
        named = {}
        for index, block in enumerate(self.blocks):
            if block.lstm is not None:
                named[f"lstm_h.{index}"], named[f"lstm_c.{index}"] = block.lstm
            memory, rows = block.memory, block.memory.rows()
            if rows is not None and memory.buffer is not None:
                named[f"memory.{index}"] = rows
                named[f"place.{index}"] = torch.tensor([memory.begin, memory.buffer.rows.shape[2]])
        return {name: tensor.contiguous() for name, tensor in named.items()}

    def with_tensors(self, named: Mapping[str, torch.Tensor]) -> "ShaRnnState":
        """Return an empty state filled with the result of `tensors`, with the same layout in (CPU) memory.

        The last bit of a matrix product can depend on the layout, so exact resuming needs it.
        """
        blocks = []
        for index, block in enumerate(self.blocks):
            lstm, memory = block.lstm, block.memory
            if f"lstm_h.{index}" in named:
                lstm = named[f"lstm_h.{index}"], named[f"lstm_c.{index}"]
            if f"memory.{index}" in named:
                rows, (begin, capacity) = named[f"memory.{index}"], named[f"place.{index}"].tolist()
                buffer = _Buffer(rows, capacity)
                memory = Memory(memory.size, buffer, begin, buffer.write(begin, rows))
            blocks.append(BlockState(lstm, memory))
        return ShaRnnState(tuple(blocks))
