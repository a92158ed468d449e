"""Export of a run's model for other programs, checked on the run's own test images.

Importing this does not import PyTorch.
"""

from __future__ import annotations

from pathlib import Path

from tenfold.deployment.bundle import Bundle
from tenfold.deployment.export.checking import images_to_check
from tenfold.deployment.export.formats import Exported, export_bundle, export_path, require_target
from tenfold.errors import TenfoldError
from tenfold.listening import Listener
from tenfold.paths import is_folder
from tenfold.runs.evaluate import sample_of_test_images
from tenfold.runs.folder import RunFolder
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import notes_on, read_own_bundle
from tenfold.types import PixelArray


def export_run(
    path: Path,
    to: str,
    out: Path | None = None,
    *,
    resources: Resources = USUAL,
    listener: Listener | None = None,
) -> Exported:
    """Export a run's model, or a bundle.

    Args:
        path: a run's folder or a bundle.
        to: `onnx`, `torch-export` or `state-dict`.
        out: a file, or a folder, also a new one; None for the run's folder, or that of the bundle.
        resources: what may be used to read the run's test images.
        listener: gets the progress of long reads, and a note if the run has not finished, or if its
            test images cannot be read, so that the export is checked on made-up ones.

    Raises:
        ExportError: the export does not compute what the model computes; nothing is written.
        UsageError: there is no such format, it cannot hold this model, or packages are missing.
        FileRefusedError: there is no usable model.
        StorageError: the file could not be written.
    """
    listener = listener or Listener()
    target = export_path(to, out, path / "model" if is_folder(path) else path.with_suffix(""))
    require_target(to, target)
    bundle, own = read_own_bundle(path, resources.own)
    for note in notes_on(bundle, own):
        listener.note(note)
    images = None if own is None else _test_images(own, bundle, resources, listener)
    return export_bundle(bundle, to, target, images)


def _test_images(
    folder: RunFolder, bundle: Bundle, resources: Resources, listener: Listener
) -> PixelArray | None:
    """Some of a run's test images; None if they cannot be read."""
    n = images_to_check(bundle)
    try:
        _, sample = sample_of_test_images(folder.path, n, resources=resources, listener=listener)
    except TenfoldError as error:
        listener.note(
            f"the run's test images cannot be read ({error.message}), so the export is checked on "
            "made-up ones"
        )
        return None
    return sample.image_array
