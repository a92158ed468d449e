from tenfold.data.dataset import ImageDataset as ImageDataset
from tenfold.data.dataset import Splits as Splits
from tenfold.data.folders.options import FolderOptions as FolderOptions
from tenfold.data.load import load_splits as load_splits
from tenfold.data.loading.loader import DataLoader as DataLoader
from tenfold.data.splitting import split_stratified as split_stratified
