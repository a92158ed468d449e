"""From files to tensors: readers, the catalog, the in-memory data set, augmentation, loading."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.load import load_splits
from tenfold.data.splitting import split_stratified

if TYPE_CHECKING:
    from tenfold.data.loading.loader import DataLoader
else:
    __getattr__, __dir__ = lazy_names(__name__, {"DataLoader": "tenfold.data.loading.loader"})

__all__ = ["DataLoader", "ImageDataset", "Splits", "load_splits", "split_stratified"]
