"""Optimisers, schedules, the state of a run, its checkpoints, and one visible loop."""

from tenfold.training.history import EpochMetrics
from tenfold.training.loop import epoch_order, train
from tenfold.training.optimizers import OPTIMIZERS, build_optimizer
from tenfold.training.parts import load_checkpoint, save_checkpoint, train_epoch
from tenfold.training.schedules import SCHEDULES, build_schedule
from tenfold.training.state import TrainingState
from tenfold.training.torch_engine import TorchEngine, train_step
from tenfold.training.watching import Standing, Watcher

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "EpochMetrics",
    "Standing",
    "TorchEngine",
    "TrainingState",
    "Watcher",
    "build_optimizer",
    "build_schedule",
    "epoch_order",
    "load_checkpoint",
    "save_checkpoint",
    "train",
    "train_epoch",
    "train_step",
]
