"""From files to arrays: readers, the catalog, the in-memory data set, loading."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold.data.dataset import ImageDataset as ImageDataset
    from tenfold.data.dataset import Splits as Splits
    from tenfold.data.load import load_splits as load_splits
    from tenfold.data.loading.loader import DataLoader as DataLoader
    from tenfold.data.splitting import split_stratified as split_stratified
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "tenfold.data.dataset": ["ImageDataset", "Splits"],
            "tenfold.data.load": ["load_splits"],
            "tenfold.data.loading.loader": ["DataLoader"],
            "tenfold.data.splitting": ["split_stratified"],
        },
    )
