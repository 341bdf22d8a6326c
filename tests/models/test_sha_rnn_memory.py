import pytest
import torch

from pii_kit.models.sha_rnn_memory import Memory, ShaRnnState


def rows(n_positions, start=0, n_streams=2):
    """Rows (stream, head, position, 3) that carry their position's number."""
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


def test_a_window_copies_its_own_positions_and_not_the_memory():
    memory, places, moves = Memory(1000), set(), 0
    for window in range(200):
        memory = memory.append(rows(10, 10 * window))
        moves += memory.buffer.rows.data_ptr() not in places
        places.add(memory.buffer.rows.data_ptr())
    assert moves <= 200 * 10 / 500 + 1  # a move in every half memory
    assert len(memory) == 1000


def test_what_grows_out_of_a_memory_does_not_change_it_nor_its_sisters():
    memory = Memory(10).append(rows(6))
    before = memory.rows().clone()
    one, other = memory.append(rows(2, 100)), memory.append(rows(2, 200))
    assert torch.equal(memory.rows(), before)
    assert one.rows()[0, 0, -2:, 0].tolist() == [100, 101]
    assert other.rows()[0, 0, -2:, 0].tolist() == [200, 201]


def test_keep_takes_the_newest():
    memory = Memory(10).append(rows(6))
    assert memory.keep(2).rows()[0, 0, :, 0].tolist() == [4, 5]
    assert len(memory.keep(50)) == 6
    assert memory.keep(-3).rows() is None


def test_a_memory_of_no_positions_stays_empty():
    assert Memory(0).append(rows(3)).rows() is None


def test_a_state_survives_being_written_down():
    lstm = (torch.randn(1, 2, 3), torch.randn(1, 2, 3))
    empty = ShaRnnState.empty(2, 10)
    assert empty.tensors() == {}
    tensors = {"lstm_h.0": lstm[0], "lstm_c.0": lstm[1], "memory.1": rows(4).clone()}
    again = empty.with_tensors(tensors).tensors()
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    assert "memory.1" not in empty.with_tensors(tensors).without_memory().tensors()
