"""The models: plain modules that take flat arguments, and the table that gives them names."""

from tenfold.models.cifar_cnn import CifarCNN
from tenfold.models.convpool import ConvPool
from tenfold.models.lenet import LeNet
from tenfold.models.mlp import MLP
from tenfold.models.preprocessing import Preprocessing
from tenfold.models.resnet_small import ResNetSmall
from tenfold.models.softmax import Softmax
from tenfold.models.softmax_scratch import SoftmaxScratch
from tenfold.models.summary import LayerSummary, ModelSummary, summarise
from tenfold.models.table import MODELS, build, model_arguments

__all__ = [
    "MLP",
    "MODELS",
    "CifarCNN",
    "ConvPool",
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
