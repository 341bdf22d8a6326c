"""Training in several processes, one a device, each of which sees its part of every batch ("rank" is torch's word).

Batches are cut among the ranks, so that steps, learning rates and, but for rounding and the random numbers of dropout,
weights are those of one process.
"""

import os
from collections.abc import Mapping

import torch
from accelerate import Accelerator, PartialState

from pii_kit.errors import KitError


def ranks_on_cpu() -> bool:
    """Whether this is one of several processes without GPUs, which Accelerate must be told: it looks for GPUs alone."""
    return "LOCAL_RANK" in os.environ and not torch.cuda.is_available()


def rank_state() -> PartialState:
    """Which of the processes this is, and what waits for the others."""
    return PartialState(cpu=ranks_on_cpu())


def check_batch_size(accelerator: Accelerator, batch_size: int) -> None:
    """Raises KitError if batches cannot be cut into equal parts."""
    if batch_size % accelerator.num_processes:
        raise KitError(f"batch_size is {batch_size}; expected a multiple of the {accelerator.num_processes} processes")


def seed_rank(accelerator: Accelerator, seed: int) -> None:
    """Random numbers of its own for each rank but the first, which goes on with those that it has."""
    if accelerator.process_index:
        torch.manual_seed(seed + accelerator.process_index)


def weigh_loss(accelerator: Accelerator, loss: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A rank's weighted mean loss, scaled so that the mean over ranks is the weighted mean over the whole batch.

    `weight` is the sum of weights that the rank's mean was divided by. Gradients are averaged over ranks as they are,
    while weights differ from part to part: O counts less than PII.
    """
    if accelerator.num_processes == 1:
        return loss
    return loss * (weight / accelerator.reduce(weight, reduction="mean"))


def over_ranks(accelerator: Accelerator, loss: torch.Tensor, wants_to_stop: bool) -> tuple[float, bool]:
    """The mean loss over ranks, and whether any rank wants to stop: the same answer on all of them."""
    if accelerator.num_processes == 1:
        return loss.item(), wants_to_stop
    told = torch.stack([loss.detach().float(), loss.new_tensor(wants_to_stop, dtype=torch.float32)])
    mean, stop = accelerator.reduce(told, reduction="mean").tolist()
    return mean, stop > 0


def random_states(accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """The random states of all ranks, (rank, byte) each; of one process none, since Accelerate saves that."""
    if accelerator.num_processes == 1:
        return {}
    states = {"random_states": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        states["cuda_random_states"] = torch.cuda.get_rng_state(accelerator.device)
    return {name: accelerator.gather(state.to(accelerator.device)[None]).cpu() for name, state in states.items()}


def restore_random_state(accelerator: Accelerator, tensors: Mapping[str, torch.Tensor]) -> None:
    """A rank's own random state of `random_states` put back; a rank that was not there then keeps what it has."""
    rank = accelerator.process_index
    if len(tensors.get("random_states", ())) > rank:
        torch.set_rng_state(tensors["random_states"][rank].clone())  # torch crashes on memory that is not aligned
    if accelerator.device.type == "cuda" and len(tensors.get("cuda_random_states", ())) > rank:
        torch.cuda.set_rng_state(tensors["cuda_random_states"][rank].clone(), accelerator.device)
