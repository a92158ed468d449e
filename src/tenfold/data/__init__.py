"""From files to tensors: readers, the catalogue, the in-memory data set, augmentation, loading."""

from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.load import load_splits
from tenfold.data.loading.loader import DataLoader
from tenfold.data.splitting import split_stratified

__all__ = ["DataLoader", "ImageDataset", "Splits", "load_splits", "split_stratified"]
