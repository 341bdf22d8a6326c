"""What a causal SHA-RNN carries from window to window: each block's LSTM state and the memory of its attention."""

from dataclasses import dataclass, replace

import torch


class _Buffer:
    """Storage for memories that grow out of one another: rows below `filled` are never written again."""

    def __init__(self, rows: torch.Tensor, capacity: int):
        self.rows = rows.new_empty(*rows.shape[:2], capacity, rows.shape[3])
        self.rows[:, :, : rows.shape[2]] = rows
        self.filled = rows.shape[2]


@dataclass(frozen=True)
class Memory:
    """The last `size` positions that an attention layer saw; a value, never changed by what grows out of it.

    Positions are appended in place behind the newest ones, so a window copies its own positions alone; only when the
    buffer is full are those still remembered moved to another one. A second memory that grows out of the same one, as
    in branching generation, gets a buffer of its own.
    """

    size: int
    buffer: _Buffer | None = None
    begin: int = 0
    end: int = 0

    def __len__(self) -> int:
        return self.end - self.begin

    def rows(self) -> torch.Tensor | None:
        """What is remembered (batch, head, position, hidden / head), a view; None where that is nothing."""
        return self.buffer.rows[:, :, self.begin : self.end] if len(self) else None

    def keep(self, n_positions: int) -> "Memory":
        """The newest `n_positions` of this memory, or all if it has fewer."""
        return replace(self, begin=max(self.begin, self.end - max(n_positions, 0)))

    def append(self, rows: torch.Tensor) -> "Memory":
        """The memory after `rows` (batch, head, position, hidden / head), which are detached."""
        if not self.size:
            return self
        rows = rows.detach()[:, :, -self.size :]
        kept = self.keep(self.size - rows.shape[2])
        end = kept.end + rows.shape[2]
        if not len(kept):
            return Memory(self.size, _Buffer(rows, _capacity(self.size, rows)), 0, rows.shape[2])
        if kept.end < self.buffer.filled or end > self.buffer.rows.shape[2]:
            buffer = _Buffer(kept.rows(), _capacity(self.size, rows))
            kept = Memory(self.size, buffer, 0, len(kept))
            end = kept.end + rows.shape[2]
        # Behind all that autograd has saved views of; without `data` it would take this for a change of them.
        kept.buffer.rows.data[:, :, kept.end : end] = rows
        kept.buffer.filled = end
        return replace(kept, end=end)


def _capacity(size: int, rows: torch.Tensor) -> int:
    """Room for half a memory more, so that what is remembered is moved once in so many positions."""
    return size + max(size // 2, rows.shape[2])


@dataclass(frozen=True)
class BlockState:
    """A block's LSTM state, hidden and cell each (1, batch, hidden), None before the first window, and its memory."""

    lstm: tuple[torch.Tensor, torch.Tensor] | None
    memory: Memory


@dataclass(frozen=True)
class ShaRnnState:
    """The state of every block, for the next window."""

    blocks: tuple[BlockState, ...]

    @classmethod
    def empty(cls, n_blocks: int, memory_size: int) -> "ShaRnnState":
        """The state before any text."""
        return cls((BlockState(None, Memory(memory_size)),) * n_blocks)

    def without_memory(self) -> "ShaRnnState":
        """The same LSTM states with nothing remembered: the LSTM alone links to the past (the paper's "back off")."""
        return ShaRnnState(tuple(replace(block, memory=Memory(block.memory.size)) for block in self.blocks))

    def cleared(self) -> "ShaRnnState":
        """The state before any text, of the same blocks."""
        return ShaRnnState(tuple(BlockState(None, Memory(block.memory.size)) for block in self.blocks))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor by name, contiguous, for a file: `lstm_h.0`, `lstm_c.0`, `memory.2` and so on."""
        named = {}
        for index, block in enumerate(self.blocks):
            if block.lstm is not None:
                named[f"lstm_h.{index}"], named[f"lstm_c.{index}"] = block.lstm
            if len(block.memory):
                named[f"memory.{index}"] = block.memory.rows()
        return {name: tensor.contiguous() for name, tensor in named.items()}

    def with_tensors(self, named: dict[str, torch.Tensor]) -> "ShaRnnState":
        """`tensors` undone, on an empty state of the same blocks."""
        blocks = []
        for index, block in enumerate(self.blocks):
            lstm, memory = block.lstm, block.memory
            if f"lstm_h.{index}" in named:
                lstm = named[f"lstm_h.{index}"], named[f"lstm_c.{index}"]
            if f"memory.{index}" in named:
                memory = memory.append(named[f"memory.{index}"])
            blocks.append(BlockState(lstm, memory))
        return ShaRnnState(tuple(blocks))
