"""The loader in the place of PyTorch's."""
