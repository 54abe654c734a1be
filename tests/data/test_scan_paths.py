"""Photographs that are given by name or folder, and have no labels."""

import re

import pytest

from fisheries.data.manifest import scan_paths
from fisheries.schema import InputError
from tests.data.test_manifest import lay_out


def test_a_plain_folder_is_named_as_test_images_are(tmp_path):
    root = lay_out(tmp_path, {"new/a.jpg": 1, "new/deep/b.jpg": 2, "test_stg2/image_00001.jpg": 3})
    table = scan_paths([root / "new", root / "test_stg2"], progress=False)
    assert list(table.index) == ["a.jpg", "deep/b.jpg", "test_stg2/image_00001.jpg"]
    assert set(table["label"]) == {""}


def test_single_photographs_can_be_listed_and_named_twice(tmp_path):
    root = lay_out(tmp_path, {"one.jpg": 1, "two/other.jpg": 2})
    paths = [root / "one.jpg", root / "two" / "other.jpg", root / "one.jpg"]
    assert list(scan_paths(paths, progress=False).index) == ["one.jpg", "other.jpg"]
    lay_out(tmp_path, {"test_stg2/image_00001.jpg": 3})
    stage2 = scan_paths([tmp_path / "test_stg2" / "image_00001.jpg"], progress=False)
    assert list(stage2.index) == ["test_stg2/image_00001.jpg"]


def test_photographs_of_the_same_name_are_refused(tmp_path):
    lay_out(tmp_path, {"a/x.jpg": 1, "b/x.jpg": 2})
    one, other = tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg"
    with pytest.raises(InputError, match=re.escape(f"{one} and {other} have the same name; predict one folder after")):
        scan_paths([tmp_path / "a", tmp_path / "b"], progress=False)


def test_paths_without_photographs_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such file or folder"):
        scan_paths([tmp_path / "nowhere"], progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no files; expected photographs"):
        scan_paths([tmp_path / "empty"], progress=False)
