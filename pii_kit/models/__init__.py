"""Networks: SHA-RNN and transformers' encoders, and how PyTorch and ONNX Runtime run them."""
