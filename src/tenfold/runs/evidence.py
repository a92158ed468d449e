"""What a finished run is judged by: its images, and what its model says about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tenfold.data.dataset import ImageDataset
from tenfold.deployment.bundle import BundleHeader
from tenfold.runs.run import Run


@dataclass(frozen=True, eq=False)
class Evidence:
    """The images of a run, and the outputs of its model for those that it was not trained on.

    Attributes:
        parts: the run's splits, by name.
        logits: of the validation and the test images, by split; float32, shape (n, classes).
        header: of the run's model.
    """

    parts: Mapping[str, ImageDataset]
    logits: Mapping[str, np.ndarray]
    header: BundleHeader


AfterRun = Callable[[Run, Evidence], None]
"""Called when a run has ended and all its files are written, with the run still locked."""
