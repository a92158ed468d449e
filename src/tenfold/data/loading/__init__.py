"""A drop-in replacement for PyTorch's data loader."""
