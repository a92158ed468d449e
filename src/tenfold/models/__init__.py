"""The models: plain modules that take flat arguments, and the table that gives them names."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold.models.cifar_cnn import CifarCNN
    from tenfold.models.convpool import ConvPool
    from tenfold.models.image_model import ImageModel
    from tenfold.models.lenet import LeNet
    from tenfold.models.mlp import MLP
    from tenfold.models.preprocessing import Preprocessing
    from tenfold.models.resnet_small import ResNetSmall
    from tenfold.models.softmax import Softmax
    from tenfold.models.softmax_scratch import SoftmaxScratch
    from tenfold.models.summary import LayerSummary, ModelSummary, summarise
    from tenfold.models.table import MODELS, build, model_arguments
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "MLP": "tenfold.models.mlp",
            "MODELS": "tenfold.models.table",
            "CifarCNN": "tenfold.models.cifar_cnn",
            "ConvPool": "tenfold.models.convpool",
            "ImageModel": "tenfold.models.image_model",
            "LayerSummary": "tenfold.models.summary",
            "LeNet": "tenfold.models.lenet",
            "ModelSummary": "tenfold.models.summary",
            "Preprocessing": "tenfold.models.preprocessing",
            "ResNetSmall": "tenfold.models.resnet_small",
            "Softmax": "tenfold.models.softmax",
            "SoftmaxScratch": "tenfold.models.softmax_scratch",
            "build": "tenfold.models.table",
            "model_arguments": "tenfold.models.table",
            "summarise": "tenfold.models.summary",
        },
    )

__all__ = [
    "MLP",
    "MODELS",
    "CifarCNN",
    "ConvPool",
    "ImageModel",
    "LayerSummary",
    "LeNet",
    "ModelSummary",
    "Preprocessing",
    "ResNetSmall",
    "Softmax",
    "SoftmaxScratch",
    "build",
    "model_arguments",
    "summarise",
]
