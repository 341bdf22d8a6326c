"""The configuration of SHA-RNN."""

from torch import nn
from transformers import PreTrainedConfig

ATTENTIONS = ("single_headed", "multi_head")


class ShaRnnConfig(PreTrainedConfig):
    """Sizes and variants of a SHA-RNN.

    `attention_layers` lists the blocks that attend. `attention` is "single_headed", the paper's (with
    `num_attention_heads` above 1 it is cut into heads), or "multi_head", PyTorch's own with all its projections.
    `boom_size` is a multiple of `hidden_size`. `bidirectional` gives each direction half of `hidden_size`; `causal`
    hides later pieces from attention. `n_casings` above 0 adds an embedding of how a token is written (pieces.CASINGS).
    `memory_size` is how many positions a causal model carries from window to window in each block that attends.
    `dropout` holds inside the blocks, and at input and output where `input_dropout` and `output_dropout` are None.
    `collapsed` models have the value gate as the constant vector that the overparameterised one comes to.
    """

    model_type = "sha_rnn"

    def __init__(
        self,
        *,
        vocab_size: int = 8192,
        hidden_size: int = 256,
        boom_size: int = 1024,
        num_hidden_layers: int = 4,
        attention_layers: list[int] | tuple[int, ...] = (2,),
        attention: str = "single_headed",
        num_attention_heads: int = 1,
        memory_size: int = 5000,
        dropout: float = 0.1,
        input_dropout: float | None = None,
        output_dropout: float | None = None,
        bidirectional: bool = True,
        causal: bool = False,
        collapsed: bool = False,
        n_casings: int = 0,
        pad_token_id: int | None = 0,
        **kwargs,
    ):
        if boom_size % hidden_size:
            raise ValueError(f"boom_size {boom_size} is not a multiple of hidden_size {hidden_size}")
        if hidden_size % (2 * num_attention_heads):
            raise ValueError(f"hidden_size {hidden_size} cannot be halved and cut into {num_attention_heads} heads")
        if attention not in ATTENTIONS:
            raise ValueError(f"attention {attention!r} is none of {', '.join(ATTENTIONS)}")
        if not set(attention_layers) <= set(range(num_hidden_layers)):
            raise ValueError(f"attention_layers {attention_layers} are not all among the {num_hidden_layers} blocks")
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.boom_size = boom_size
        self.num_hidden_layers = num_hidden_layers
        self.attention_layers = list(attention_layers)
        self.attention = attention
        self.num_attention_heads = num_attention_heads
        self.memory_size = memory_size
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.output_dropout = output_dropout
        self.bidirectional = bidirectional
        self.causal = causal
        self.collapsed = collapsed
        self.n_casings = n_casings
        super().__init__(pad_token_id=pad_token_id, **kwargs)


def byte_model_config(**sizes) -> ShaRnnConfig:
    """The configuration of a language model over bytes, with the given sizes and variants."""
    return ShaRnnConfig(vocab_size=256, bidirectional=False, causal=True, pad_token_id=None, **sizes)


def layer_norm(config: ShaRnnConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=1e-12)
