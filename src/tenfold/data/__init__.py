"""From files to tensors: readers, the catalogue, the in-memory data set, augmentation, loading."""

from tenfold.data.dataset import ImageDataset, Splits, split_stratified
from tenfold.data.loader import DataLoader
from tenfold.data.sources import load_splits

__all__ = ["DataLoader", "ImageDataset", "Splits", "load_splits", "split_stratified"]
