"""What pretraining teaches: masked pieces, and a head that guesses them (Devlin et al., arXiv 1810.04805)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from pii_kit.pieces import PieceTokenizer

MASKED, REPLACED = 0.8, 0.1  # of the pieces to be guessed; the rest stay as they are


def mask_pieces(
    batch: dict[str, torch.Tensor], tokenizer: PieceTokenizer, *, share: float
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The batch with a random `share` of its pieces disguised, and which these are: booleans (batch, piece).

    Eight in ten become the mask, one becomes any piece, one stays (section 3.1 of the paper): a tagger labels pieces
    that it sees, so the hidden states of these must learn too. Padding and special pieces are never chosen. How a token
    is written (casing_ids) stays visible, as in a tagger's training: whoever labels a text knows it.
    """
    pieces = batch["input_ids"]
    draws = torch.rand(pieces.shape, device=pieces.device)
    special = torch.isin(pieces, torch.tensor(special_ids(tokenizer), device=pieces.device))
    chosen = (draws < share) & batch["attention_mask"].bool() & ~special
    others = torch.randint_like(pieces, tokenizer.n_pieces)
    shown = pieces.masked_fill(chosen & (draws < MASKED * share), tokenizer.mask_id)
    replaced = chosen & (draws >= MASKED * share) & (draws < (MASKED + REPLACED) * share)
    return {**batch, "input_ids": shown.where(~replaced, others)}, chosen


def special_ids(tokenizer: PieceTokenizer) -> list[int]:
    """The pieces that stand for no text of their own."""
    ids = (tokenizer.pad_id, tokenizer.unknown_id, tokenizer.mask_id, tokenizer.start_id, tokenizer.end_id)
    return [piece for piece in ids if piece is not None]


class Guesser(nn.Module):
    """A tagger's body and a head that guesses pieces: a projection, and as output the input embedding's own weights.

    It runs the tagger itself, with the classifier taken out: MobileBERT's sense of capitals is outside its base model.
    """

    def __init__(self, tagger: PreTrainedModel, tokenizer: PieceTokenizer):
        super().__init__()
        self.tagger = tagger
        self.embedding = tagger.get_input_embeddings()
        self.projection = nn.Linear(tagger.config.hidden_size, self.embedding.embedding_dim)
        self.norm = nn.LayerNorm(self.embedding.embedding_dim)
        self.output_bias = nn.Parameter(torch.zeros(self.embedding.num_embeddings))
        self.register_buffer("special", torch.tensor(special_ids(tokenizer)))

    def forward(self, batch: dict[str, torch.Tensor], chosen: torch.Tensor) -> torch.Tensor:
        """Arguments (batch, piece) → logits (chosen piece, vocabulary), row by row."""
        hidden = self.tagger(**batch).logits[chosen]  # (chosen piece, hidden)
        hidden = self.norm(F.gelu(self.projection(hidden)))
        logits = F.linear(hidden, self.embedding.weight, self.output_bias).float()
        # No guess at these: they stand for no text, and so the pad piece's embedding stays the zero that it began as.
        return logits.index_fill(1, self.special, -torch.inf)


@contextmanager
def without_classifier(model: PreTrainedModel) -> Iterator[None]:
    """`model` gives hidden states where it gives logits, until its own classifier is put back."""
    classifier, training = model.classifier, model.training
    model.classifier = nn.Identity()
    try:
        yield
    finally:
        model.classifier = classifier.to(model.device)
        model.train(training)
