"""The models: plain modules that take flat arguments, and the table that gives them names."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold.models.cifar_cnn import CifarCNN as CifarCNN
    from tenfold.models.convpool import ConvPool as ConvPool
    from tenfold.models.image_model import ImageModel as ImageModel
    from tenfold.models.lenet import LeNet as LeNet
    from tenfold.models.mlp import MLP as MLP
    from tenfold.models.preprocessing import Preprocessing as Preprocessing
    from tenfold.models.resnet_small import ResNetSmall as ResNetSmall
    from tenfold.models.softmax import Softmax as Softmax
    from tenfold.models.softmax_scratch import SoftmaxScratch as SoftmaxScratch
    from tenfold.models.summary import LayerSummary as LayerSummary
    from tenfold.models.summary import ModelSummary as ModelSummary
    from tenfold.models.summary import summarize as summarize
    from tenfold.models.table import MODELS as MODELS
    from tenfold.models.table import build as build
    from tenfold.models.table import model_arguments as model_arguments
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "tenfold.models.cifar_cnn": ["CifarCNN"],
            "tenfold.models.convpool": ["ConvPool"],
            "tenfold.models.image_model": ["ImageModel"],
            "tenfold.models.lenet": ["LeNet"],
            "tenfold.models.mlp": ["MLP"],
            "tenfold.models.preprocessing": ["Preprocessing"],
            "tenfold.models.resnet_small": ["ResNetSmall"],
            "tenfold.models.softmax": ["Softmax"],
            "tenfold.models.softmax_scratch": ["SoftmaxScratch"],
            "tenfold.models.summary": ["LayerSummary", "ModelSummary", "summarize"],
            "tenfold.models.table": ["MODELS", "build", "model_arguments"],
        },
    )
