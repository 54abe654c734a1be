"""From a folder of photographs to the table of images that everything else starts from."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from fisheries import schema
from fisheries.data import images
from fisheries.progress import IMAGES, track
from fisheries.schema import OK, TRAIN, InputError, nearest

STATUSES: Mapping[str, str] = {
    **images.STATUSES,
    "bad_name": "the name is not valid UTF-8",
    "no_label": "lies in train/ itself, not in the folder of a class",
    "conflict": "training images with the same content have different labels",
    "duplicate": "same content and label as an earlier training image",
}
NOTES: Mapping[str, str] = {
    **images.NOTES,
    "same_as_train": "same content as a training image",
    "same_as_test": "same content as a test image, or as another one",
    "relabeled": "has another label than its folder's, by labels.csv",
}

_BARE = ("test", "test_stg1")  # test folders whose ids Kaggle wants without the folder
_SKIPPED = ("thumbs.db", "desktop.ini", "__macosx")  # and all that starts with a dot
_RELATIVE = ("duplicate", "conflict", "same_as_train", "same_as_test")  # depend on other files
_NOT_READ = ("unreadable", "bad_name", "no_label")
_EXPECTED = "expected a folder that holds train/<class>/ or test*/ with photographs"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    path: Path
    parts: tuple[str, ...]  # of the path below DATA_DIR
    size_bytes: int
    mtime_ns: int

    @property
    def subset(self) -> str:
        return _text(self.parts[0])

    @property
    def label(self) -> str:
        return _text(self.parts[1]) if self.subset == TRAIN and len(self.parts) > 2 else ""


def scan(data_dir: Path, *, previous: pd.DataFrame | None, workers: int, progress: bool) -> pd.DataFrame:
    """Read all photographs in `DATA_DIR/train/<class>/**` and `DATA_DIR/test*/**`, each once; nothing is written there.

    An `image_id` is the bare file name in train, test and test_stg1, and `<folder>/<name>` in other test folders; a
    file in a deeper folder has its relative path for a name. Where ids clash, those of train become `<class>/<name>`,
    and after that all get the path below `data_dir`.

    Args:
        data_dir: the folder of the photographs.
        previous: the table of an earlier scan; a file of the same path, size and time of change is not read again.
        workers: threads that read and decode.
        progress: whether to draw a bar on standard error.

    Returns:
        Columns `schema.MANIFEST` by `image_id`, train first, then by subset and id; what needs the other photographs is
        left open: boat and burst are "", and no image is by night. Its `attrs` hold "empty_classes", class folders
        without a photograph, and "skipped", the number of hidden files.

    Raises:
        InputError: neither train nor test folders, no file in them, or a folder that can't be listed.
    """
    if workers < 1:
        raise InputError(f"workers={workers}: expected at least 1")
    root = photographs_dir(data_dir)
    files, skipped = _list_files(root)
    empty = _empty_classes(root, files)
    if not files:
        raise InputError(f"{data_dir}: no files in train/<class>/ or test*/; {_EXPECTED}")
    table = relate(_read_files(files, previous=previous, workers=workers, progress=progress))
    table = table.sort_index(kind="stable").sort_values("subset", key=_train_first, kind="stable")
    table.attrs.update(empty_classes=empty, skipped=skipped)
    return table


def list_images(data_dir: Path) -> pd.Series:
    """Return the `image_id` that `scan` gives each file, by its path below `data_dir`; no file is read.

    Raises:
        InputError: as `scan`.
    """
    files, _ = _list_files(photographs_dir(data_dir))
    paths = [_text("/".join(file.parts)) for file in files]
    return pd.Series(_image_ids(files), paths, dtype="str", name=schema.KEY)


def scan_paths(paths: Sequence[Path], *, progress: bool) -> pd.DataFrame:
    """Read photographs given as files or folders, for prediction.

    A folder that holds train/ or test*/ is taken as in `scan`. Any other counts as a test folder: an `image_id` is the
    path below it, after `test_stg2/` if that is the folder's name.

    Args:
        paths: files and folders.
        progress: as in `scan`.

    Returns:
        As `scan`, in the order found.

    Raises:
        InputError: a path that is not there, no files, or two files of the same name.
    """
    files: dict[tuple[str, ...], _File] = {}
    for path in (path.absolute() for path in paths):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        for file in _files_of(path):
            if files.setdefault(file.parts, file).path != file.path:
                twin = files[file.parts].path
                raise InputError(f"{twin} and {file.path} have the same name; predict one folder after the other")
    if not files:
        raise InputError(f"{', '.join(map(str, paths))}: no files; expected photographs, or a folder with some")
    return _read_files(list(files.values()), previous=None, workers=max(4, os.cpu_count() or 1), progress=progress)


def _files_of(path: Path) -> list[_File]:
    if not path.is_dir():
        return [_file(path, (_subset_of(path.parent), path.name))]
    return _list_files(path)[0] if _subsets(path) else _plain_files(path)


def _plain_files(folder: Path) -> list[_File]:
    return [_file(path, (_subset_of(folder), *path.relative_to(folder).parts)) for path in _walk([folder])[0]]


def _subset_of(folder: Path) -> str:
    return folder.name if re.fullmatch(r"test_stg\d+", folder.name) else "test"


def size_as_boat(manifest: pd.DataFrame) -> pd.DataFrame:
    """Fill the column `boat` with "<width>x<height>", for want of anything better; "" where the size isn't known."""
    sizes = manifest["width"].astype(str) + "x" + manifest["height"].astype(str)
    return manifest.assign(boat=sizes.where(manifest["height"] > 0, ""))


def photographs_dir(data_dir: Path) -> Path:
    """Return the folder with every link resolved.

    Raises:
        InputError: there is no such folder, or neither train nor test folders in it.
    """
    if not data_dir.is_dir():
        raise InputError(f"{data_dir}: no such folder; {_EXPECTED}")
    root = data_dir.resolve()
    if not _is_utf8(str(root)):
        raise InputError(f"{_text(str(root))}: the name is not valid UTF-8; rename the folder")
    if not _subsets(root):
        others = [folder.name for folder in _folders(root) if folder.name != TRAIN]
        hint = nearest(TRAIN, others) or nearest("test", others) or nearest("test_stg1", others)
        raise InputError(f"{data_dir}: no folder train/<class>/ or test*/{hint}; {_EXPECTED}")
    return root


def _subsets(root: Path) -> list[Path]:
    return [
        folder
        for folder in _folders(root)
        if folder.name.startswith("test") or (folder.name == TRAIN and _folders(folder))
    ]


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))
    except OSError as error:
        raise InputError(f"{folder}: can't be listed ({error.strerror}); expected a readable folder") from error


def _list_files(root: Path) -> tuple[list[_File], int]:
    """Return all files of the subsets, and how many were skipped."""
    paths, skipped = _walk(_subsets(root))
    return [_file(path, path.relative_to(root).parts) for path in paths], skipped


def _walk(folders: Sequence[Path]) -> tuple[list[Path], int]:
    """Return all files at any depth below `folders`, sorted, and how many hidden ones were skipped."""
    paths: list[Path] = []
    skipped = 0
    waiting = [(folder, frozenset[Path]()) for folder in folders]
    while waiting:
        folder, above = waiting.pop()
        if folder.resolve() in above:  # a link to a folder that it lies in
            continue
        above |= {folder.resolve()}
        for path, is_folder in _entries(folder):
            if is_hidden(path.name):
                skipped += 1
            elif is_folder:
                waiting.append((path, above))
            else:
                paths.append(path)
    return sorted(paths), skipped


def _entries(folder: Path) -> list[tuple[Path, bool]]:
    try:
        with os.scandir(folder) as entries:
            return [(Path(entry.path), entry.is_dir()) for entry in entries]
    except OSError as error:
        raise InputError(f"{folder}: can't be listed ({error.strerror}); expected a readable folder") from error


def _file(path: Path, parts: tuple[str, ...]) -> _File:
    try:
        facts = path.stat()
    except OSError:  # a broken link
        return _File(path=path, parts=parts, size_bytes=0, mtime_ns=0)
    return _File(path=path, parts=parts, size_bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)


def _empty_classes(root: Path, files: Sequence[_File]) -> list[str]:
    classes = [_text(folder.name) for folder in _folders(root / TRAIN)] if (root / TRAIN).is_dir() else []
    empty = sorted(set(classes) - {file.label for file in files})
    for name in empty:
        _LOG.warning("%s: class %r has no photographs", root / TRAIN, name)
    return empty


def _read_files(files: Sequence[_File], *, previous: pd.DataFrame | None, workers: int, progress: bool) -> pd.DataFrame:
    known = {} if previous is None else _known(previous)
    fresh = [file for file in files if (str(file.path), file.size_bytes, file.mtime_ns) not in known]
    read = dict(zip(fresh, _parallel(_content, fresh, workers=workers, progress=progress), strict=True))
    _LOG.info("%d files: %d read, %d as before", len(files), len(fresh), len(files) - len(fresh))
    rows = []
    for file in files:
        content = read.get(file) or known[(str(file.path), file.size_bytes, file.mtime_ns)]
        origin = {"path": _text(str(file.path)), "subset": file.subset, "label": file.label}
        unknown = {"boat": "", "burst": "", "is_night": False}
        rows.append(origin | content | unknown | {"size_bytes": file.size_bytes, "mtime_ns": file.mtime_ns})
    index = pd.Index(_image_ids(files), name=schema.KEY, dtype="str")
    return pd.DataFrame(rows, index=index)[list(schema.MANIFEST)].astype(dict(schema.MANIFEST))


def _known(previous: pd.DataFrame) -> dict[tuple[str, int, int], dict[str, object]]:
    """Return what an earlier scan knows of each file by itself, by path, size and time of change."""
    rows = previous[~previous["status"].isin(_NOT_READ)]
    rows = _without(rows, (*_RELATIVE, "relabeled"))
    content = rows[["sha256", "height", "width", "status", "notes"]].to_dict("records")
    return dict(zip(zip(rows["path"], rows["size_bytes"], rows["mtime_ns"], strict=True), content, strict=True))


def _parallel(
    work: Callable[[_File], dict[str, object]], files: Sequence[_File], *, workers: int, progress: bool
) -> list[dict[str, object]]:
    pool = ThreadPoolExecutor(workers)
    try:
        done = pool.map(work, files)
        return list(
            track(
                done,
                description="Reading photographs",
                total=len(files),
                disable=not (progress and files),
                unit=IMAGES,
            )
        )
    finally:
        pool.shutdown(cancel_futures=True)  # or Ctrl-C waits for the whole folder


def _content(file: _File) -> dict[str, object]:
    """Return what a file says by itself."""
    sha256, facts = "", images.ImageFacts(height=0, width=0, status=_name_fault(file))
    if facts.status == OK:
        sha256, facts = _read(file.path)
    return {
        "sha256": sha256,
        "height": facts.height,
        "width": facts.width,
        "status": facts.status,
        "notes": facts.notes,
    }


def _name_fault(file: _File) -> str:
    if not _is_utf8(str(file.path)):
        return "bad_name"
    return "no_label" if file.subset == TRAIN and not file.label else OK


def _read(path: Path) -> tuple[str, images.ImageFacts]:
    try:
        data = images.read_bytes(path)
    except (OSError, Image.DecompressionBombError) as error:
        status = images.status_of(error)
        return (_hash_big(path) if status == "too_large" else ""), images.ImageFacts(height=0, width=0, status=status)
    return hashlib.sha256(data).hexdigest(), images.inspect_bytes(data, name=path.name)


def _hash_big(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _image_ids(files: Sequence[_File]) -> list[str]:
    """Return an id for each file: its shortest name that no other file has, where those of train give way first."""
    names = [_possible_names(file) for file in files]
    level = [0] * len(files)
    while True:
        holders = defaultdict(list)
        for number, choices in enumerate(names):
            holders[choices[level[number]]].append(number)
        clashes = [numbers for numbers in holders.values() if len(numbers) > 1]
        if not clashes:
            return list(holders)
        for numbers in clashes:
            movable = [number for number in numbers if level[number] + 1 < len(names[number])]
            for number in [number for number in movable if files[number].subset == TRAIN] or movable:
                level[number] += 1


def _possible_names(file: _File) -> list[str]:
    full = "/".join(file.parts)
    names = [full]
    if file.subset == TRAIN:
        names = ["/".join(file.parts[start:]) for start in range(2 if file.label else 1, -1, -1)]
    elif file.subset in _BARE:
        names = ["/".join(file.parts[1:]), full]
    if not _is_utf8(full):
        names.append(os.fsencode(full).hex())  # escaped, two may look alike
    return [_text(name) for name in names]


def relate(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the statuses and notes that come from files of the same content, found anew."""
    table = _without(manifest, _RELATIVE).sort_index()
    sound = table[table["status"] == OK]
    train, test = sound[sound["subset"] == TRAIN], sound[sound["subset"] != TRAIN]
    labels = train.groupby("sha256")["label"].transform("nunique")
    status = table["status"].copy()
    status[train.index[train["sha256"].duplicated()]] = "duplicate"
    status[labels.index[labels > 1]] = "conflict"
    twice = set(test["sha256"][test["sha256"].duplicated()])
    more = {
        "same_as_train": set(test.index[test["sha256"].isin(set(train["sha256"]))]),
        "same_as_test": set(train.index[train["sha256"].isin(set(test["sha256"]))])
        | set(test.index[test["sha256"].isin(twice)]),
    }
    notes = [
        " ".join(sorted({*words.split(), *(note for note, ids in more.items() if image_id in ids)}))
        for image_id, words in table["notes"].items()
    ]
    return table.assign(status=status, notes=pd.Series(notes, table.index, dtype="str")).loc[manifest.index]


def _without(manifest: pd.DataFrame, words: Sequence[str]) -> pd.DataFrame:
    """Return the table without some statuses and notes."""
    status = manifest["status"].where(~manifest["status"].isin(words), OK)
    notes = [" ".join(note for note in notes.split() if note not in words) for notes in manifest["notes"]]
    return manifest.assign(status=status, notes=pd.Series(notes, manifest.index, dtype="str"))


def _train_first(subset: pd.Series) -> pd.Series:
    return subset.where(subset != TRAIN, "")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of that name is passed over."""
    return name.startswith(".") or name.lower() in _SKIPPED


def _is_utf8(text: str) -> bool:
    return _text(text) == text


def _text(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
