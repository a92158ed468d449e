"""The first pass over class folders: the header of every image, and all other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

from tenfold.data.files.reading import file_errors
from tenfold.data.folders.archives import guessed_encoding
from tenfold.data.folders.damage import reason_of
from tenfold.data.folders.images import read_header
from tenfold.data.folders.members import Kind, Member, Parts, is_hidden
from tenfold.data.folders.source import read_members
from tenfold.errors import DataError, listing
from tenfold.listening import Listener
from tenfold.paths import is_folder

TABLE_EXTENSIONS = (".csv", ".tsv", ".txt")
"""Files with these extensions, in any case, may be tables of labels."""

LARGEST_TABLES = 64 * 2**20
"""Bytes of tables beside images that are kept."""

IMAGE_EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpx", ".heic", ".heif",
)  # fmt: skip
"""Files with these extensions, in any case, are images; others are skipped with a note."""

LARGEST_KEPT = 512 * 2**20
"""Maximum bytes of encoded images that stay in memory between the two passes over the source."""

_IMAGES_BETWEEN_LOOKS = 64


@dataclass(slots=True)
class ImageFile:
    """One image file: its name, and its size, mode and format if the header can be read."""

    parts: Parts
    size: tuple[int, int] | None = None
    is_gray: bool = False
    has_sixteen_bits: bool = False
    format: str = ""

    @property
    def name(self) -> str:
        """The parts joined by slashes."""
        return "/".join(self.parts)


@dataclass
class Survey:
    """The result of the first pass.

    Attributes:
        images: in source order.
        encoded: the images' bytes in the same order; None if they were too large to keep.
        damaged: the reason for each image without a readable header, by its name.
        folders: all folders that are not hidden, including empty ones.
        hidden, not_images, not_followed: names of skipped files.
        tables: the contents of those skipped files that may be tables of labels, by their names.
        unread_tables: why others of them were not read, by their names.
        room_for_tables: bytes that more of them may have.
    """

    images: list[ImageFile] = field(default_factory=list)
    encoded: list[bytes] | None = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    folders: set[Parts] = field(default_factory=set)
    hidden: list[str] = field(default_factory=list)
    not_images: list[str] = field(default_factory=list)
    not_followed: list[str] = field(default_factory=list)
    tables: dict[str, bytes] = field(default_factory=dict)
    unread_tables: dict[str, str] = field(default_factory=dict)
    room_for_tables: int = field(default_factory=lambda: LARGEST_TABLES)

    def keep(self, kept: Sequence[bool]) -> None:
        """Drop the images for which this is False."""
        self.images = list(compress(self.images, kept))
        if self.encoded is not None:
            self.encoded = list(compress(self.encoded, kept))

    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of every image whose header could be read."""
        return [image.size for image in self.images if image.size is not None]


def survey_images(path: Path, listener: Listener) -> Survey:
    """Read the header of every image, and list all other files.

    Raises:
        DataError: as `read_members`; or a directory has links that are not followed, or devices.
    """
    survey, is_directory = Survey(), is_folder(path)
    kept = 0
    with file_errors(path, "folder or archive"):
        encoding = guessed_encoding(path)
    if encoding:
        listener.note(
            f"names in the archive are taken to be in {encoding}, because it does not say and they "
            "are not in UTF-8"
        )
    for member in read_members(path):
        if is_hidden(member.parts):
            if member.kind is not Kind.FOLDER:
                survey.hidden.append(member.name)
        elif member.kind is Kind.FOLDER:
            survey.folders.add(member.parts)
        elif member.kind is Kind.NOT_FOLLOWED:
            if is_directory and member.parts[-1].lower().endswith(IMAGE_EXTENSIONS):
                survey.images.append(ImageFile(member.parts))
                survey.damaged[member.name] = (
                    "a link out of the folder or to nothing, or a special file"
                )
                if survey.encoded is not None:
                    survey.encoded.append(b"")
            else:
                survey.not_followed.append(member.name)
        elif not member.parts[-1].lower().endswith(IMAGE_EXTENSIONS):
            survey.not_images.append(member.name)
            survey.folders.add(member.parts[:-1])
            if member.parts[-1].lower().endswith(TABLE_EXTENSIONS):
                _keep_table(survey, member)
        else:
            data = _survey_image(survey, member)
            kept += len(data)
            if survey.encoded is not None:
                survey.encoded.append(data)
            if kept > LARGEST_KEPT:
                survey.encoded = None
            if len(survey.images) % _IMAGES_BETWEEN_LOOKS == 0:
                listener.reading("finding images", len(survey.images), None)
    # In an archive, links are harmless, so they are only noted.
    if survey.not_followed and is_directory:
        raise DataError(
            f"{path}: links to folders, and special files, are not read: "
            f"{listing(survey.not_followed)}",
            remedy="put the files themselves there",
        )
    return survey


def _keep_table(survey: Survey, member: Member) -> None:
    """Keep what may be a table of labels, unless it is too large or cannot be read."""
    try:
        data = member.read()
    except DataError as error:
        survey.unread_tables[member.name] = error.message
        return
    if len(data) <= survey.room_for_tables:
        survey.room_for_tables -= len(data)
        survey.tables[member.name] = data
    else:
        survey.unread_tables[member.name] = (
            f"{member.name}: it was not read, because tables beside images may have "
            f"{LARGEST_TABLES:,} bytes in all"
        )


def _survey_image(survey: Survey, member: Member) -> bytes:
    """Add an image to the survey; returns its bytes, empty if it cannot be read."""
    image = ImageFile(member.parts)
    survey.images.append(image)
    data = b""
    try:
        data = member.read()
        header = read_header(data, member.name)
    except DataError as error:
        survey.damaged[member.name] = reason_of(error, member.name)
    else:
        image.size = (header.height, header.width)
        image.is_gray, image.has_sixteen_bits = header.is_gray, header.has_sixteen_bits
        image.format = header.format
    return data
