"""Everything that a training begins with, and its training, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tenfold.data.dataset import ImageDataset, Splits
from tenfold.deployment.background import Background
from tenfold.evaluation.report import Report, report_of
from tenfold.listening import Listener
from tenfold.models.image_model import ImageModel
from tenfold.models.layers import Layer
from tenfold.models.mistakes.explaining import named
from tenfold.models.own import OwnFacts, OwnModel
from tenfold.recipes import Recipe
from tenfold.runs.conditions import conditions
from tenfold.runs.facts import Conditions, Context, DataFacts, StartFacts
from tenfold.storage import absolute
from tenfold.tensors import Logits
from tenfold.training.acceleration import Acceleration
from tenfold.training.augment import Augmentation
from tenfold.training.checkpoint import Checkpointer
from tenfold.training.engines import ChosenEngine
from tenfold.training.frozen_engine import FrozenFeatures
from tenfold.training.loop import Outcome
from tenfold.training.loop import train as train_loop
from tenfold.training.memory import out_of_memory_explained
from tenfold.training.schedules import Schedule
from tenfold.training.state import TrainingState
from tenfold.training.watching import Watcher
from tenfold.types import as_array


@dataclass(frozen=True)
class Prepared:
    """Everything needed to start or continue training.

    Attributes:
        recipe: the complete recipe, with data and model arguments filled in.
        splits: the training, validation and test images.
        layers: the network as a flat list; None if it is not one.
        state: the training state, initially fresh.
        schedule: the learning-rate schedule.
        augmentation: None if the recipe has none.
        class_weights: of the loss, one per class; None if all count alike.
        engine: what runs the training steps.
        data: where the splits come from, and how to find the data again.
        start: what the network starts from; None for random weights.
        own: what made the network, if that is the user's own; None for one of the table.
        forgets: in words, what checkpoints do not keep of a network of the user's own.
        shapes: of the tensors in the network's state dict, by name, before training.
        features: of a network of which only the last layer is trained; else None.
        background: of the training images.
        chosen: in words, what was chosen by the data; empty for nothing.
        shows_test: whether the test images are evaluated after every epoch, for a person to see.
    """

    recipe: Recipe
    splits: Splits
    layers: tuple[Layer, ...] | None
    state: TrainingState
    schedule: Schedule
    augmentation: Augmentation | None
    class_weights: tuple[float, ...] | None
    engine: ChosenEngine
    data: DataFacts
    start: StartFacts | None = None
    own: OwnModel | None = None
    forgets: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    features: FrozenFeatures | None = None
    background: Background | None = None
    chosen: str = ""
    shows_test: bool = False

    def compute_features(self, listener: Listener) -> None:
        """Compute the features that training needs, if only the last layer is trained.

        Call this once the network has its weights; it may take long. If it is interrupted, those
        that are done are in the cache.
        """
        if self.features is not None:
            with (
                self.failures_named(),
                out_of_memory_explained(
                    self.state, batch_size=None, eval_batch_size=self.recipe.eval_batch_size
                ),
            ):
                others = [part.images for part in (self.splits.val, self.shown) if part is not None]
                try:
                    self.features.compute(self.splits.train.images, others, listener)
                except KeyboardInterrupt:
                    listener.note(
                        "interrupted while features were computed; the same command takes those "
                        "that are in the cache from there"
                    )
                    raise

    @property
    def model(self) -> ImageModel:
        """The model being trained."""
        model = self.state.model
        assert isinstance(model, ImageModel), "`prepare` made it"
        return model

    @contextmanager
    def failures_named(self) -> Iterator[None]:
        """Inside the block, errors of the user's own code become ours, and it can be compiled."""
        if self.own is None:
            yield
            return
        with self.own.imports_known(), named(f"training {self.own.name}"):
            yield

    @property
    def shown(self) -> ImageDataset | None:
        """The test images, if they are evaluated after every epoch."""
        return self.splits.test if self.shows_test else None

    @property
    def own_facts(self) -> OwnFacts | None:
        """What is recorded of a network of the user's own."""
        return None if self.own is None else self.own.facts_of(self.model.network)

    @property
    def own_layers(self) -> tuple[Layer, ...] | None:
        """The layers of a network of the user's own, if it is a list of them."""
        return None if self.own is None else self.layers

    @property
    def code_path(self) -> str:
        """The absolute path of the file with the network's code; empty without one."""
        path = None if self.own is None or self.own.code is None else self.own.code.path
        return "" if path is None else str(absolute(path))

    @property
    def source_to_keep(self) -> str:
        """The code that a model file keeps, to be read; it has none that it does not need."""
        if self.own is None or self.own.code is None or self.layers is not None:
            return ""
        return self.own.code.source

    @property
    def context(self) -> Context:
        """What must be unchanged for a resume."""
        return Context(
            recipe=self.recipe.decisive_fields(),
            data={part.split: part.fingerprint for part in self.splits},
            classes=list(self.splits.train.classes),
        )

    @property
    def conditions(self) -> Conditions:
        """What must be unchanged for a resume to end with the same bits."""
        return conditions(self.state.device, self.engine)

    def evaluate(self, dataset: ImageDataset) -> Report:
        """The current model's figures on a data set, computed the same way as in validation."""
        return report_of(self.logits(dataset), dataset, self.class_weights)

    def number_right(self, dataset: ImageDataset) -> int:
        """How many images of a data set the current model answers right."""
        answers = as_array(self.logits(dataset)).argmax(axis=1)
        return int((answers == dataset.label_array).sum())

    def logits(self, dataset: ImageDataset) -> Logits:
        """The current model's logits on a data set."""
        return self.engine.predict(dataset.images, self.recipe.eval_batch_size)


def train_prepared(
    prepared: Prepared,
    *,
    watcher: Watcher,
    checkpointer: Checkpointer | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train from the current state as the recipe says.

    Raises:
        TrainingError: the loss became infinite or undefined, or memory ran out.
    """
    recipe, state = prepared.recipe, prepared.state
    with (
        prepared.failures_named(),
        out_of_memory_explained(
            state, batch_size=recipe.batch_size, eval_batch_size=recipe.eval_batch_size
        ),
    ):
        return train_loop(
            state,
            prepared.splits.train,
            prepared.splits.val,
            test_data=prepared.shown,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            schedule=prepared.schedule,
            seed=recipe.seed,
            shuffle=recipe.shuffle,
            eval_batch_size=recipe.eval_batch_size,
            label_smoothing=recipe.label_smoothing,
            clip_norm=recipe.clip_norm,
            augment=prepared.augmentation,
            class_weights=prepared.class_weights,
            acceleration=acceleration_of(recipe),
            choose_by=recipe.choose_by,
            patience=recipe.patience,
            make_engine=prepared.engine.make,
            checkpointer=checkpointer,
            watcher=watcher,
            should_stop=should_stop,
        )


def acceleration_of(recipe: Recipe) -> Acceleration:
    """How PyTorch computes a recipe's steps."""
    return Acceleration(recipe.precision, recipe.channels_last, recipe.compile)
