"""From files to arrays: readers, the catalog, the in-memory data set, loading."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold.data.dataset import ImageDataset, Splits
    from tenfold.data.load import load_splits
    from tenfold.data.loading.loader import DataLoader
    from tenfold.data.splitting import split_stratified
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "DataLoader": "tenfold.data.loading.loader",
            "ImageDataset": "tenfold.data.dataset",
            "Splits": "tenfold.data.dataset",
            "load_splits": "tenfold.data.load",
            "split_stratified": "tenfold.data.splitting",
        },
    )

__all__ = ["DataLoader", "ImageDataset", "Splits", "load_splits", "split_stratified"]
