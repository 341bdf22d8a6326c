"""A tagger's model in ONNX Runtime, called as the PyTorch model is."""

from pathlib import Path

import torch
from transformers import AutoConfig
from transformers.modeling_outputs import TokenClassifierOutput

from pii_kit.files import KitError

FILE = "model.onnx"


class OnnxModel:
    """The model.onnx of an exported folder, on the CPU: windows in, logits out. It cannot be trained.

    Raises KitError if onnxruntime is not installed or the file cannot be read.
    """

    device = torch.device("cpu")

    def __init__(self, folder: Path):
        try:
            import onnxruntime  # 70 MB that only exported models need
        except ModuleNotFoundError:
            raise KitError(f"{folder / FILE}: needs onnxruntime (pip install onnxruntime)") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.config = AutoConfig.from_pretrained(folder)
            self.session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no narrower class
            raise KitError(f"{folder / FILE}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None
        self.inputs = [entry.name for entry in self.session.get_inputs()]

    def __call__(self, **batch: torch.Tensor) -> TokenClassifierOutput:
        """input_ids, attention_mask, casing_ids, each (batch, piece) → logits (batch, piece, label)."""
        (logits,) = self.session.run(["logits"], {name: batch[name].numpy() for name in self.inputs})
        return TokenClassifierOutput(logits=torch.from_numpy(logits))

    def to(self, device: str | torch.device) -> "OnnxModel":
        """Itself: whatever device was asked for, ONNX Runtime works on the CPU here."""
        return self

    def eval(self) -> "OnnxModel":
        """Itself: an exported model has no dropout."""
        return self
