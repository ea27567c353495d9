"""Records hold what the folder does, and TFDS writes and reads them without TensorFlow."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from dgunet_jax import UserError
from dgunet_jax.cli import main
from dgunet_jax.data.config import DataConfig
from dgunet_jax.data.pipeline import training_batches
from dgunet_jax.data.records import RecordSource, find_folder
from dgunet_jax.data.sources import open_source
from tests.evaluation.disk import full_disk
from tests.evaluation.folders import clean, degraded, pairs, save


@pytest.fixture
def folder(tmp_path):
    """Pairs as b.png, a_2.bmp and so on, of two sizes."""
    pairs(tmp_path / "folder", 3)
    for part in ("input", "target"):
        Image.fromarray(clean(7)[:, :31]).save(tmp_path / "folder" / part / "a.bmp")
    return tmp_path / "folder"


def packed(folder):
    place = folder.with_name("packed")
    assert main(["pack", str(folder), "--output", str(place)]) == 0
    return f"tfds:{place}"


def equal(one, other):
    assert len(one) == len(other)
    assert one.pairs == other.pairs
    for i in range(len(one)):
        assert one.name(i) == other.name(i)
        assert one.size(i) == other.size(i)
        for a, b in zip(one.read(i), other.read(i), strict=True):
            np.testing.assert_array_equal(a, b)


def test_pairs_are_those_of_the_folder(folder, capsys):
    where = packed(folder)
    said = capsys.readouterr()
    assert said.out == f"wrote 4 pairs; train with --config.data.train={where}\n"
    assert said.err == ""
    found = open_source(where, pairs=True)
    assert isinstance(found, RecordSource)
    equal(found, open_source(str(folder), pairs=True))
    equal(open_source(f"{where}/pictures/1.0.0@train", pairs=True), found)


def test_clean_pictures_are_those_of_the_folder(folder):
    where = packed(folder / "target")
    equal(open_source(where, pairs=False), open_source(str(folder / "target"), pairs=False))


def test_training_sees_the_same_batches(folder):
    where = packed(folder)

    def batches(train):
        config = DataConfig(train, "photographs:chelsea", patch=16, batch=4, workers=0)
        found = training_batches(open_source(train, pairs=True), config)
        return [next(found) for _ in range(3)]

    for ours, expected in zip(batches(where), batches(str(folder)), strict=True):
        for name in ("input", "target"):
            np.testing.assert_array_equal(ours[name], expected[name])


def test_files_are_kept_as_they_are(folder, tmp_path):
    packed(folder)
    content = b"".join(path.read_bytes() for path in (tmp_path / "packed").rglob("*record*"))
    for path in folder.rglob("*.png"):
        assert path.read_bytes() in content


def test_without_tensorflow(folder):
    words = "import sys; from dgunet_jax.cli import main; code = main(sys.argv[1:]);"
    words += "print('tensorflow' in sys.modules); sys.exit(code)"
    command = ["pack", str(folder), "--output", str(folder.with_name("other"))]
    done = subprocess.run([sys.executable, "-c", words, *command], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "False")


def test_a_data_set_of_somebody_else(tmp_path):
    """With features and splits of its own."""

    class Photos(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("2.0.0")

        def _info(self):
            kind = {"image": tfds.features.Image(), "label": tfds.features.Scalar(np.int64)}
            kind |= {"name": tfds.features.ClassLabel(names=["cat", "dog"])}
            kind |= {"sizes": tfds.features.Sequence(tfds.features.Scalar(np.int64))}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(kind))

        def _split_generators(self, dl_manager):
            return {"test": self._generate_examples(1), "train": self._generate_examples(2)}

        def _generate_examples(self, count):
            for i in range(count):
                path = save(tmp_path / f"{i}.png", clean(i))
                yield str(i), {"image": str(path), "label": i, "name": "dog", "sizes": [1, 2]}

    builder = Photos(data_dir=tmp_path / "tfds", file_format="array_record")
    builder.download_and_prepare(download_dir=tmp_path / "none")
    place = f"tfds:{tmp_path}/tfds/photos"
    assert len(open_source(place, pairs=False)) == 2  # of train
    (image,) = open_source(f"{place}@test", pairs=False).read(0)
    np.testing.assert_array_equal(image, clean(0))
    assert open_source(f"{place}@test", pairs=False).name(0) == f"{tmp_path}/tfds/photos@test[0]"
    for more, wanted, message in (
        ("@other", False, r"photos: has no split 'other'; it has test, train"),
        ("", True, r"photos: needs pictures called input and target; it has image"),
    ):
        with pytest.raises(UserError, match=message):
            open_source(place + more, pairs=wanted)


def test_mistakes_are_one_line(folder, tmp_path, capsys):
    where = packed(folder)
    for place, wanted, message in (
        (where, False, "packed: holds pairs; leave degradation out"),
        ("tfds:nothing", True, "nothing: neither a folder nor a data set in TFDS_DATA_DIR"),
        (f"tfds:{folder}x", False, "folderx: no such folder"),
        ("tfds:~nobody/x", False, "~nobody/x: no such folder"),
        ("tfds:huggingface:foo", False, "huggingface:foo: neither a folder nor a data set"),
        ("tfds:mnist", False, "mnist: neither a folder nor a data set in TFDS_DATA_DIR"),
        ("tfds:", True, '"tfds:" needs a folder'),
        (f"tfds:{folder}", True, "folder: holds 0 TFDS data sets; it must be one"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            open_source(place, pairs=wanted)
        assert len(str(caught.value).splitlines()) == 1
    capsys.readouterr()
    save(folder / "input" / "0.png", degraded(0)[1:])
    for words, message in (
        ([folder, "--output", tmp_path / "packed"], "the pictures of a pair must have one size"),
        ([folder / "target", "--output", tmp_path / "packed"], "packed: holds a data set already"),
        ([tmp_path / "gone", "--output", tmp_path / "other"], "gone: no such folder"),
        ([folder / "target", "--output", "/proc/none"], "/proc/none: cannot be written"),
    ):
        assert main(["pack", *map(str, words)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_a_folder_may_have_an_at_in_its_name(folder, tmp_path):
    place = tmp_path / "out@v1"
    assert main(["pack", str(folder), "--output", str(place)]) == 0
    assert len(open_source(f"tfds:{place}", pairs=True)) == 4
    assert len(open_source(f"tfds:{place}@train", pairs=True)) == 4
    (info,) = place.rglob("dataset_info.json")
    info.write_text(info.read_text()[:50])
    with pytest.raises(UserError, match=r"dataset_info\.json: is damaged"):
        open_source(f"tfds:{place}", pairs=True)


def test_names_that_are_no_text_are_told(folder, tmp_path, capsys):
    for part in ("input", "target"):
        os.rename(folder / part / "0.png", os.fsencode(folder / part) + b"/\xe9.png")
    assert main(["pack", str(folder), "--output", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "names that cannot be written as text (1): " in line
    assert "\\xe9.png" in line
    assert not (tmp_path / "out").exists()


def test_damage_is_told_when_it_is_read(folder, tmp_path):
    where = packed(folder)
    (path,) = (tmp_path / "packed").rglob("*.array_record*")
    content = path.read_bytes()
    picture = (folder / "target" / "1.png").read_bytes()
    path.write_bytes(content.replace(picture, picture[:40] + b"\0" * (len(picture) - 40)))
    source = open_source(where, pairs=True)
    with pytest.raises(UserError, match=r"packed@train\[1\]: cannot be read: Corrupted"):
        source.read(1)


OWN = "tensorflow_datasets.core.features"
HOSTILE = "hostile_package.module.Feature"


@pytest.fixture
def hostile(folder, monkeypatch):
    """A data set whose folder, on Python's path, holds a package that raises when imported."""
    packed(folder)
    place = folder.with_name("packed")
    (place / "hostile_package").mkdir()
    for name in ("__init__.py", "module.py"):
        (place / "hostile_package" / name).write_text("raise SystemError('was imported')")
    monkeypatch.syspath_prepend(str(place))
    return place


def rewrite(place, name, change):
    (path,) = place.rglob(name)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "feature",
    [
        {"pythonClassName": HOSTILE, "jsonFeature": {"json": "{}"}},
        {"python_class_name": HOSTILE, "json_feature": {"json": "{}"}},
        {"type": HOSTILE, "content": {}},
        {
            "pythonClassName": f"{OWN}.sequence_feature.Sequence",
            "sequence": {"feature": {"pythonClassName": HOSTILE, "jsonFeature": {"json": "{}"}}},
        },
        {
            "pythonClassName": f"{OWN}.features_dict.FeaturesDict",
            "jsonFeature": {"json": json.dumps({"a": {"type": HOSTILE, "content": {}}})},
        },
        {
            "type": f"{OWN}.sequence_feature.Sequence",
            "proto_cls": "tensorflow_datasets.Sequence",
            "content": json.dumps({"feature": {"pythonClassName": HOSTILE}}),
        },
    ],
)
def test_a_class_of_a_data_set_is_not_imported(hostile, feature):
    rewrite(hostile, "features.json", lambda x: x["featuresDict"]["features"].update(x=feature))
    with pytest.raises(UserError, match=r"features\.json: names 'hostile_package\.module"):
        open_source(f"tfds:{hostile}", pairs=True)


def test_a_module_of_a_data_set_is_not_imported(hostile):
    rewrite(hostile, "dataset_info.json", lambda x: x.update(moduleName="hostile_package.module"))
    assert len(open_source(f"tfds:{hostile}", pairs=True)) == 4
    assert "hostile_package" not in sys.modules


def test_a_class_in_dataset_info_is_not_imported(hostile):
    feature = {"pythonClassName": HOSTILE, "jsonFeature": {"json": "{}"}}
    rewrite(hostile, "dataset_info.json", lambda x: x.update(features=feature))
    with pytest.raises(UserError, match="names 'hostile_package"):
        open_source(f"tfds:{hostile}", pairs=True)


def test_a_name_imports_nothing(hostile, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(hostile))
    assert len(open_source("tfds:pictures", pairs=True)) == 4
    assert len(open_source("tfds:pictures:1.0.0@train", pairs=True)) == 4
    for name in ("hostile_package", "hostile_package.module", "pictures:2.0.0", "kaggle:pictures"):
        with pytest.raises(UserError, match="neither a folder nor a data set in TFDS_DATA_DIR"):
            open_source(f"tfds:{name}", pairs=True)


def test_the_newest_version_of_a_name_is_meant(hostile, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(hostile))
    versions = hostile / "pictures"
    for version in ("9.0.0", "10.0.0"):
        shutil.copytree(versions / "1.0.0", versions / version)
    assert find_folder("pictures").name == "10.0.0"
    with pytest.raises(UserError, match="holds 3 TFDS data sets; it must be one"):
        find_folder(str(hostile))


@pytest.mark.parametrize(
    "template",
    [
        "../{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "/etc/{SPLIT}-{SHARD_INDEX}",
        "{SPLIT.__class__}",
        "{SPLIT:>99999999999}",
        "records[0:1]",
    ],
)
def test_a_file_name_stays_in_its_data_set(hostile, template):
    rewrite(
        hostile, "dataset_info.json", lambda x: x["splits"][0].update(filepathTemplate=template)
    )
    with pytest.raises(UserError, match=r"dataset_info\.json: names the file .*in the folder"):
        open_source(f"tfds:{hostile}", pairs=True)


@pytest.mark.parametrize("name", ["*.array_record*", "features.json", "dataset_info.json"])
def test_links_out_of_a_data_set_are_refused(hostile, tmp_path, name):
    (path,) = hostile.rglob(name)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link out of its data set"):
        open_source(f"tfds:{hostile}", pairs=True)


def test_a_number_of_records_that_is_not_true_is_told(hostile):
    rewrite(hostile, "dataset_info.json", lambda x: x["splits"][0].update(shardLengths=["10"]))
    with pytest.raises(UserError, match=r"holds 4 records; its dataset_info\.json says 10"):
        open_source(f"tfds:{hostile}", pairs=True)


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"featuresDict": {"features": [1]}}']
)
def test_damaged_descriptions_are_one_line(hostile, name, content):
    (path,) = hostile.rglob(name)
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_source(f"tfds:{hostile}", pairs=True)
    assert len(str(caught.value).splitlines()) == 1


def test_records_are_not_packed_to_remote_storage(folder, capsys):
    assert main(["pack", str(folder), "--output", "memory://bucket/packed"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "memory://bucket/packed: records are read from a disk and written to one" in line


def test_packing_onto_a_full_disk_leaves_nothing(folder, tmp_path, capsys):
    with full_disk(1000):
        assert main(["pack", str(folder), "--output", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "out: cannot be written: " in line
    assert not (tmp_path / "out").exists()
