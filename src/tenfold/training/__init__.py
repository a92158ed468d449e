"""Optimizers, schedules, the state of a run, its checkpoints, and one visible loop."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold.training.history import EpochMetrics as EpochMetrics
    from tenfold.training.loop import epoch_order as epoch_order
    from tenfold.training.loop import train as train
    from tenfold.training.optimizers import OPTIMIZERS as OPTIMIZERS
    from tenfold.training.optimizers import build_optimizer as build_optimizer
    from tenfold.training.parts import load_checkpoint as load_checkpoint
    from tenfold.training.parts import save_checkpoint as save_checkpoint
    from tenfold.training.parts import train_epoch as train_epoch
    from tenfold.training.schedules import SCHEDULES as SCHEDULES
    from tenfold.training.schedules import build_schedule as build_schedule
    from tenfold.training.state import TrainingState as TrainingState
    from tenfold.training.torch_engine import TorchEngine as TorchEngine
    from tenfold.training.torch_engine import train_step as train_step
    from tenfold.training.watching import Standing as Standing
    from tenfold.training.watching import Watcher as Watcher
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "tenfold.training.history": ["EpochMetrics"],
            "tenfold.training.loop": ["epoch_order", "train"],
            "tenfold.training.optimizers": ["OPTIMIZERS", "build_optimizer"],
            "tenfold.training.parts": ["load_checkpoint", "save_checkpoint", "train_epoch"],
            "tenfold.training.schedules": ["SCHEDULES", "build_schedule"],
            "tenfold.training.state": ["TrainingState"],
            "tenfold.training.torch_engine": ["TorchEngine", "train_step"],
            "tenfold.training.watching": ["Standing", "Watcher"],
        },
    )
