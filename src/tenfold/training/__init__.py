"""Optimizers, schedules, the state of a run, its checkpoints, and one visible loop."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold.training.history import EpochMetrics
    from tenfold.training.loop import epoch_order, train
    from tenfold.training.optimizers import OPTIMIZERS, build_optimizer
    from tenfold.training.parts import load_checkpoint, save_checkpoint, train_epoch
    from tenfold.training.schedules import SCHEDULES, build_schedule
    from tenfold.training.state import TrainingState
    from tenfold.training.torch_engine import TorchEngine, train_step
    from tenfold.training.watching import Standing, Watcher
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "OPTIMIZERS": "tenfold.training.optimizers",
            "SCHEDULES": "tenfold.training.schedules",
            "EpochMetrics": "tenfold.training.history",
            "Standing": "tenfold.training.watching",
            "TorchEngine": "tenfold.training.torch_engine",
            "TrainingState": "tenfold.training.state",
            "Watcher": "tenfold.training.watching",
            "build_optimizer": "tenfold.training.optimizers",
            "build_schedule": "tenfold.training.schedules",
            "epoch_order": "tenfold.training.loop",
            "load_checkpoint": "tenfold.training.parts",
            "save_checkpoint": "tenfold.training.parts",
            "train": "tenfold.training.loop",
            "train_epoch": "tenfold.training.parts",
            "train_step": "tenfold.training.torch_engine",
        },
    )

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
