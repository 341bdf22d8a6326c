import pytest
import torch

from pii_kit.models.sha_rnn_memory import BlockState, Memory, ShaRnnState


def rows(n_positions, start=0, n_streams=2):
    """Return rows (batch, head, position, 3) that hold the number of their position."""
    return (start + torch.arange(n_positions).float())[None, None, :, None].expand(n_streams, 1, -1, 3)


@pytest.mark.parametrize("size", [1, 5, 8, 100])
@pytest.mark.parametrize("lengths", [[1] * 40, [3, 3, 3, 30, 1, 4], [8, 8, 8, 8]])
def test_a_memory_holds_the_last_positions_in_order(size, lengths):
    memory, seen = Memory(size), torch.empty(2, 1, 0, 3)
    for length in lengths:
        new = rows(length, seen.shape[2])
        memory, seen = memory.append(new), torch.cat([seen, new], 2)
        assert torch.equal(memory.rows(), seen[:, :, -size:])
        assert len(memory) == min(size, seen.shape[2])


def test_appending_a_window_does_not_copy_the_memory():
    memory, places, moves = Memory(1000), set(), 0
    for window in range(200):
        memory = memory.append(rows(10, 10 * window))
        moves += memory.buffer.rows.data_ptr() not in places
        places.add(memory.buffer.rows.data_ptr())
    assert moves <= 200 * 10 / 500 + 1  # one move per half memory
    assert len(memory) == 1000


def test_extending_a_memory_twice_changes_neither_it_nor_the_other_extension():
    memory = Memory(10).append(rows(6))
    before = memory.rows().clone()
    one, other = memory.append(rows(2, 100)), memory.append(rows(2, 200))
    assert torch.equal(memory.rows(), before)
    assert one.rows()[0, 0, -2:, 0].tolist() == [100, 101]
    assert other.rows()[0, 0, -2:, 0].tolist() == [200, 201]


def test_keep_returns_the_newest_positions():
    memory = Memory(10).append(rows(6))
    assert memory.keep(2).rows()[0, 0, :, 0].tolist() == [4, 5]
    assert len(memory.keep(50)) == 6
    assert memory.keep(-3).rows() is None


def test_a_memory_of_size_0_stays_empty():
    assert Memory(0).append(rows(3)).rows() is None


def test_a_state_is_restored_from_its_tensors():
    lstm = (torch.randn(1, 2, 3), torch.randn(1, 2, 3))
    empty = ShaRnnState.empty(2, 10)
    assert empty.tensors() == {}
    state = ShaRnnState((BlockState(lstm, Memory(10)), BlockState(None, Memory(10).append(rows(8)).append(rows(5)))))
    tensors = state.tensors()
    assert list(tensors) == ["lstm_h.0", "lstm_c.0", "memory.1", "place.1"]
    again = empty.with_tensors(tensors).tensors()
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    assert "memory.1" not in empty.with_tensors(tensors).without_memory().tensors()


def test_a_restored_memory_has_the_same_layout_now_and_as_it_grows():
    """The last bit of a product depends on where its factors are in memory."""
    memory = Memory(10).append(rows(6)).append(rows(7, 6)).append(rows(1, 13))
    (restored,) = ShaRnnState((BlockState(None, Memory(10)),)).with_tensors(_named(memory)).blocks
    one, other = memory, restored.memory
    for window in range(10):
        assert (one.begin, one.end, one.buffer.rows.shape) == (other.begin, other.end, other.buffer.rows.shape)
        assert torch.equal(one.rows(), other.rows())
        one, other = one.append(rows(3, 14 + 3 * window)), other.append(rows(3, 14 + 3 * window))


def _named(memory):
    return ShaRnnState((BlockState(None, memory),)).tensors()
