"""Training of the last layer alone: the same steps as by hand, on features computed once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from small_images import Readings, image_dataset
from tenfold.data.dataset import ImageDataset
from tenfold.errors import StorageError, UsageError
from tenfold.evaluation.passes import predict_logits
from tenfold.listening import Listener, Recorder
from tenfold.models import ImageModel, Preprocessing, build
from tenfold.storage import cache_folder
from tenfold.training import feature_cache, frozen_engine
from tenfold.training.augment import Augmentation
from tenfold.training.averaging import AveragedWeights
from tenfold.training.engine import StepSettings
from tenfold.training.feature_cache import load_features, store_features
from tenfold.training.frozen_engine import AT_ONCE, FrozenEngine, FrozenFeatures
from tenfold.training.state import TrainingState

DATA = image_dataset()
RATES = [0.1, 0.05, 0.02]
ORDER = torch.randperm(40, generator=torch.Generator().manual_seed(1))


def model_of(name: str = "resnet-small") -> ImageModel:
    torch.manual_seed(0)
    arguments = {"widths": (4, 6), "blocks": 1, "dropout": 0.4} if name == "resnet-small" else {}
    network = build(name, DATA.image_shape, 4, **arguments)
    for module in network.modules():  # statistics as of a trained network
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    for parameter in network.parameters():
        parameter.requires_grad = False
    for parameter in head_of(network).parameters():
        parameter.requires_grad = True
    return ImageModel(Preprocessing(), network)


def head_of(network: nn.Module) -> nn.Linear:
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def features_of(model: ImageModel, **options: object) -> FrozenFeatures:
    (name,) = (n for n, m in model.named_modules() if m is head_of(model.network))
    return FrozenFeatures(model, name, **options)


def state_of(model: ImageModel, *, averaged: bool = False) -> TrainingState:
    optimizer = torch.optim.SGD(head_of(model.network).parameters(), lr=1.0, momentum=0.9)
    return TrainingState(model, optimizer, AveragedWeights(model, 0.9) if averaged else None)


def by_hand(model: ImageModel, settings: StepSettings, images: Tensor) -> ImageModel:
    """The model after three steps that compute every layer, all but the last without training."""
    model = copy.deepcopy(model)
    head = head_of(model.network)
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0, momentum=0.9)
    weights = None if settings.class_weights is None else torch.tensor(settings.class_weights)
    model.eval()
    for place, lr in enumerate(RATES):
        chosen = ORDER[place * 12 : (place + 1) * 12]
        optimizer.param_groups[0]["lr"] = lr
        loss = nn.functional.cross_entropy(
            model(images[chosen]),
            DATA.labels[chosen],
            weight=weights,
            label_smoothing=settings.label_smoothing,
        )
        optimizer.zero_grad()
        loss.backward()
        if settings.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
    return model


@pytest.mark.parametrize("name", ["resnet-small", "mlp", "softmax"])
@pytest.mark.parametrize(
    "settings",
    [
        StepSettings(12),
        StepSettings(12, label_smoothing=0.1, clip_norm=0.05, class_weights=(1.0, 2.0, 0.5, 1.0)),
    ],
)
def test_the_steps_are_those_taken_by_hand(name: str, settings: StepSettings) -> None:
    model = model_of(name)
    wanted = by_hand(model, settings, DATA.images)
    state = state_of(model)
    engine = FrozenEngine(state, DATA, settings, features=features_of(model))
    engine.begin_epoch(0, ORDER)
    stretch = engine.advance(0, RATES, gradient_norms=True)
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, wanted.state_dict()[name], atol=1e-6), name
    assert len(stretch.losses) == 3
    assert stretch.gradient_norms is not None
    assert len(stretch.gradient_norms) == 1


@pytest.mark.parametrize("averaged", [False, True])
def test_logits_are_those_of_the_whole_model(averaged: bool) -> None:
    """Up to rounding; for images whose features are known, for a part of them, and for others."""
    model = model_of()
    state, others = state_of(model, averaged=averaged), image_dataset(DATA.image_array[::-1].copy())
    features = features_of(model)
    features.compute(DATA.images, [others.images], Listener())
    engine = FrozenEngine(state, DATA, StepSettings(12), features=features)
    engine.begin_epoch(0, ORDER)
    engine.advance(0, RATES)
    state.step = 3
    computed: list[int] = []
    real = features._computed
    features._computed = lambda images: (computed.append(len(images)), real(images))[1]
    for images in (others.images, others.images[7:29], others.images[16:]):
        with state.final_weights_in_place():
            wanted = predict_logits(model, images, batch_size=16)
        assert torch.allclose(engine.logits(images, 16), wanted, rtol=1e-5, atol=1e-6)
    assert computed == []
    strange = others.images[3:11].clone()
    with state.final_weights_in_place():
        wanted = predict_logits(model, strange)
        assert torch.allclose(engine.logits(strange, 16), wanted, rtol=1e-5, atol=1e-6)
    assert computed == [8]


def test_epochs_see_the_views_in_turn() -> None:
    model, augment = model_of("mlp"), Augmentation(3, flip=True, shift=0.2)
    views = [augment(DATA.images, torch.arange(40), view) for view in range(2)]
    settings = StepSettings(12, augment=augment)
    features = features_of(model, views=2, augment=augment)
    features.compute(DATA.images, (), Listener())
    assert not torch.equal(features.views[0], features.views[1])
    for epoch in (0, 1, 2):
        trained = copy.deepcopy(model)
        wanted = by_hand(trained, settings, views[epoch % 2])
        own = features_of(trained, views=2, augment=augment)
        engine = FrozenEngine(state_of(trained), DATA, settings, features=own)
        engine.begin_epoch(epoch, ORDER)
        engine.advance(0, RATES)
        for name, tensor in trained.state_dict().items():
            assert torch.allclose(tensor, wanted.state_dict()[name], atol=1e-6), name


def test_progress_reaches_the_end() -> None:
    model, progress = model_of(), Readings()
    many = image_dataset(DATA.image_array.repeat(4, 0), DATA.label_array.repeat(4))
    augment = Augmentation(0, flip=True)
    features = features_of(model, views=2, augment=augment)
    features.compute(many.images, [DATA.images], progress)
    assert [done for _, done, _ in progress.calls] == [AT_ONCE, 160, 288, 320, 360]
    assert {total for _, _, total in progress.calls} == {360}


class Interrupts(Listener):
    """Presses Ctrl-C when so many features have been computed."""

    def __init__(self, at: int) -> None:
        self.at, self.notes = at, list[str]()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def reading(self, what: str, done: int, total: int | None) -> None:
        if done >= self.at:
            raise KeyboardInterrupt


def test_what_an_interruption_leaves_is_not_computed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of two views of 250 images, in the second part of the second view."""
    monkeypatch.setattr(frozen_engine, "TOGETHER", 128)
    many = image_dataset(DATA.image_array.repeat(7, 0)[:250], DATA.label_array.repeat(7)[:250])
    augment, model = Augmentation(0, flip=True, shift=0.2), model_of()
    whole = features_of(model, views=2, augment=augment)
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "other"))
    whole.compute(many.images, (), Listener())
    assert not torch.equal(whole.views[0], whole.views[1])
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(KeyboardInterrupt):
        features_of(model, views=2, augment=augment).compute(many.images, (), Interrupts(400))
    computed, listener = computations(monkeypatch), Interrupts(10**9)
    again = features_of(model, views=2, augment=augment)
    again.compute(many.images, (), listener)
    assert computed == [122]
    assert listener.notes == ["computing the features of images"]
    assert all(map(torch.equal, whole.views, again.views))


def computations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    real = FrozenFeatures._computed

    def counting(self: FrozenFeatures, images: Tensor) -> Tensor:
        found.append(len(images))
        return real(self, images)

    monkeypatch.setattr(FrozenFeatures, "_computed", counting)
    return found


def entries() -> list[Path]:
    return sorted((cache_folder() / "features").glob("*.safetensors"))


def changed_body(model: ImageModel) -> None:
    with torch.no_grad():
        next(model.network.parameters()).mul_(1.5)


def changed_statistics(model: ImageModel) -> None:
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).running_mean.add_(1)


def changed_head(model: ImageModel) -> None:
    with torch.no_grad():
        head_of(model.network).weight.zero_()


@pytest.mark.parametrize(
    ("change", "data", "options", "again"),
    [
        (None, DATA, {}, False),
        (changed_head, DATA, {}, False),
        (changed_body, DATA, {}, True),
        (changed_statistics, DATA, {}, True),
        (None, image_dataset(DATA.image_array[::-1].copy()), {}, True),
        (None, DATA, {"key": "another seed"}, True),
        (None, DATA, {"views": 1, "augment": Augmentation(0, flip=True)}, True),
    ],
)
def test_features_are_computed_once(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: Callable[[ImageModel], None] | None,
    data: ImageDataset,
    options: dict[str, object],
    again: bool,
) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    model = model_of()
    first = features_of(model)
    first.compute(DATA.images, (), Listener())
    if change is not None:
        change(model)
    computed = computations(monkeypatch)
    second = features_of(model, **options)
    second.compute(data.images, (), Listener())
    assert bool(computed) == again
    assert again or torch.equal(first.views[0], second.views[0])


@pytest.mark.parametrize("damage", ["cut", "empty", "other shape"])
def test_a_damaged_entry_is_computed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str
) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    model = model_of()
    first = features_of(model)
    first.compute(DATA.images, (), Listener())
    (path,) = entries()
    if damage == "other shape":
        store_features(path.stem, torch.zeros(3, 4))
    else:
        path.write_bytes(path.read_bytes()[:90] if damage == "cut" else b"")
    computed = computations(monkeypatch)
    second = features_of(model)
    second.compute(DATA.images, (), Listener())
    assert computed == [40]
    assert torch.equal(first.views[0], second.views[0])
    third = features_of(model)
    third.compute(DATA.images, (), Listener())
    assert computed == [40], "it was stored again"


def test_a_cache_that_cannot_be_written_only_costs_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    features, recorder = features_of(model_of()), Recorder(Listener())
    features.compute(DATA.images, [DATA.images], recorder)
    assert features.views[0].shape == (40, 6)
    assert recorder.notes[0] == "computing the features of images"
    (said,) = recorder.notes[1:]
    assert said.startswith("features are not kept in the cache: ")


def test_features_that_do_not_fit_into_the_cache_do_not_push_out_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    store_features("another", torch.zeros(2, 3))
    monkeypatch.setattr(frozen_engine, "LARGEST_CACHE", 1500)  # 40 x 6 x 4 bytes are 960
    recorder = Recorder(Listener())
    features_of(model_of()).compute(DATA.images, [DATA.images], recorder)
    assert recorder.notes[1:] == [
        "features are not kept in the cache: 1,920 bytes are over the limit of 1,500"
    ]
    assert [path.stem for path in entries()] == ["another"]


def digest_of(number: int) -> str:
    return f"{number:064x}"


def test_the_cache_has_a_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    monkeypatch.setattr(feature_cache, "LARGEST_CACHE", 2_000)
    for number in range(4):
        store_features(digest_of(number), torch.full((20, 10), float(number)))
    assert len(entries()) <= 2
    assert load_features(digest_of(0), 20) is None
    assert load_features(digest_of(3), 20) is not None
    with pytest.raises(StorageError, match="over the limit"):
        store_features("large", torch.zeros(1000, 10))
    assert load_features("large", 1000) is None


def test_features_that_are_not_finite_are_refused() -> None:
    model = model_of()
    with torch.no_grad():
        next(model.network.parameters()).fill_(3e38)
    with pytest.raises(UsageError, match="the logits of some images are not finite"):
        features_of(model).compute(DATA.images, (), Listener())


class NotLast(nn.Module):
    """Its logits are not what its last linear layer computes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(30, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1)) * 2


def test_another_last_operation_is_refused() -> None:
    model = ImageModel(Preprocessing(), NotLast())
    with pytest.raises(UsageError, match="the logits are not what the last layer"):
        FrozenFeatures(model, "network.fc").compute(DATA.images, (), Listener())
