"""`dgunet restore` and `dgunet sense` on files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage import data

import dgunet_jax
from dgunet_jax import Restorer, UserError
from dgunet_jax.cli import main
from dgunet_jax.images import Picture, read, write
from tests import choices
from tests.small import network

CAT = data.chelsea()[100:124, 100:132]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "net.safetensors"
    dgunet_jax.save(path, *network())
    return path


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def restorer():
    return Restorer(*network())


@pytest.fixture
def restore(checkpoint, capsys):
    """Runs the command; its status, and what it wrote to the two streams."""

    def run(*arguments, checkpoint=checkpoint, command="restore"):
        words = [command, "--checkpoint", str(checkpoint), "--output", "out"]
        status = main([*words, *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def errors(said):
    return [line for line in said.splitlines() if line.startswith("error: ")]


def levels(picture, restorer):
    """What a picture's pixels must become."""
    peak = np.iinfo(picture.pixels.dtype).max
    colours = np.repeat(picture.pixels, 4 - picture.pixels.shape[2], axis=2)[..., :3] / peak
    restored = restorer(colours.astype(np.float32))
    if picture.pixels.shape[2] == 1:
        restored = restored.mean(axis=2, keepdims=True)
    return np.rint(restored.clip(0, 1) * peak)


def test_every_kind_of_picture_keeps_what_it_has(restore, restorer):
    grey = CAT.mean(axis=2).astype(np.uint8)
    deep = CAT.astype(np.uint16) * 257 - np.uint16(3)
    alpha = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32)
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    exif[0x0112] = 6
    folder = Path("in")
    folder.mkdir()
    Image.fromarray(CAT).save(folder / "rgb.png", icc_profile=SRGB)
    Image.fromarray(grey).save(folder / "grey.bmp")
    Image.fromarray(CAT).quantize(32).save(folder / "palette.png")
    Image.fromarray(grey > 99).save(folder / "bits.png")
    Image.fromarray(np.dstack([CAT, alpha])).save(folder / "rgba.webp", lossless=True, exact=True)
    Image.fromarray(np.dstack([grey, alpha]), "LA").save(folder / "la.png")
    Image.fromarray(CAT).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.rot90(CAT)).save(folder / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(deep[..., 0]).save(folder / "grey16.png")
    tifffile.imwrite(folder / "rgb16.tif", deep, photometric="rgb")
    write(folder / "rgba16.png", Picture(deep, alpha.astype(np.uint16) * 200))

    status, _, said = restore(folder)
    assert (status, errors(said)) == (0, [])
    assert len(list(Path("out").iterdir())) == 11
    kinds = {
        "rgb": (np.uint8, 3), "grey": (np.uint8, 1), "palette": (np.uint8, 3),
        "bits": (np.uint8, 1), "rgba": (np.uint8, 3), "la": (np.uint8, 1),
        "cmyk": (np.uint8, 3), "turned": (np.uint8, 3), "grey16": (np.uint16, 1),
        "rgb16": (np.uint16, 3), "rgba16": (np.uint16, 3),
    }  # fmt: skip
    for path in folder.iterdir():
        before, after = read(path), read(Path("out", f"{path.stem}.png"))
        assert (after.pixels.dtype, after.pixels.shape[2]) == kinds[path.stem], path
        assert after.pixels.shape == (24, 32, after.pixels.shape[2]), path
        difference = after.pixels - levels(before, restorer)
        # Rounding may go either way where batches are computed in another order.
        assert np.abs(difference).max() <= (1 if after.pixels.dtype == np.uint8 else 2), path
        assert after.icc_profile == before.icc_profile
        if before.alpha is None:
            assert after.alpha is None
        else:
            np.testing.assert_array_equal(after.alpha, before.alpha)
    assert read("out/rgb.png").icc_profile == SRGB
    with Image.open("out/turned.png") as turned:
        assert turned.getexif()[0x010E] == "a cat"
        assert turned.getexif()[0x0112] == 1


def test_what_cannot_be_read_is_named_and_the_rest_is_done(restore):
    folder = Path("in/sub")
    folder.mkdir(parents=True)
    Image.fromarray(CAT).save("in/good.png")
    content = Path("in/good.png").read_bytes()
    (folder / "cut.png").write_bytes(content[:-50])
    (folder / "mislabelled.jpg").write_bytes(content)
    (folder / "no_ending").write_bytes(content)
    (folder / "words.png").write_text("words")
    (folder / "readme.txt").write_text("words")
    Image.fromarray(CAT).save(
        folder / "moving.gif", save_all=True, append_images=[Image.fromarray(CAT[::-1])]
    )
    status, said, warned = restore("in", "gone.png", "*.bmp")
    assert status == 2
    assert {path.relative_to("out").as_posix() for path in Path("out").rglob("*.*")} == {
        "good.png",
        "sub/mislabelled.png",
        "sub/no_ending.png",
    }
    named = errors(warned)
    for part in ("*.bmp: no file matches", "gone.png: no such file", "in/sub/words.png: ",
                 "in/sub/moving.gif: ", "in/sub/cut.png: "):  # fmt: skip
        assert sum(line.startswith(f"error: {part}") for line in named) == 1, part
    assert len(named) == 5
    assert "left out, not a picture: in/sub/readme.txt\n" in warned
    assert "frames" in warned
    assert "restored 3 pictures in" in warned
    assert "(3/" in said


def test_skip_existing_goes_on_where_it_stopped(restore):
    Path("in").mkdir()
    for name in "abc":
        Image.fromarray(CAT).save(f"in/{name}.png")
    assert restore("in", "--compare")[0] == 0
    kept = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert len(kept) == 6
    Path("out/b_compare.png").unlink()
    Path("out/a.png").write_text("somebody's own")
    status, said, warned = restore("in", "--compare", "--skip-existing")
    assert status == 0
    assert "2 exist already" in warned
    assert said.count("wrote") == 1
    assert Path("out/a.png").read_text() == "somebody's own"
    assert Path("out/b_compare.png").read_bytes() == kept["b_compare.png"]
    status, said, _ = restore("in", "--skip-existing")
    assert (status, said) == (0, "")


def test_side_by_side(restore, restorer):
    write("grey.png", Picture(CAT[:, :, :1].copy()))
    Image.fromarray(CAT).save("cat.png")
    assert restore("cat.png", "grey.png", "--compare", "--stages", "--suffix", "_r")[0] == 0
    compared, strip = read("out/cat_r_compare.png").pixels, read("out/cat_r_stages.png").pixels
    restored = read("out/cat_r.png").pixels
    assert compared.shape == (20 + 24, 2 * 32 + 8, 3)
    for left in (0, 40):  # each below its name
        assert compared[:20, left : left + 32].min() < 128 < compared[:20, left : left + 32].max()
    compared, strip = compared[20:], strip[20:]
    np.testing.assert_array_equal(compared[:, :32], CAT)
    np.testing.assert_array_equal(compared[:, 32:40], 255)
    np.testing.assert_array_equal(compared[:, 40:], restored)
    assert strip.shape == (24, 4 * 32 + 3 * 8, 3)
    np.testing.assert_array_equal(strip[:, :32], CAT)
    stages = np.rint(restorer.stages(CAT.astype(np.float32) / 255).clip(0, 1) * 255)
    for k, estimate in enumerate(stages, 1):
        assert np.abs(strip[:, k * 40 : k * 40 + 32] - estimate).max() <= 1
    np.testing.assert_array_equal(strip[:, -32:], restored)
    assert read("out/grey_r_compare.png").pixels.shape == (44, 72, 1)


def test_formats(restore):
    write("deep.png", Picture(CAT.astype(np.uint16) * 257))
    Image.fromarray(CAT).save("cat.jpg")
    status, _, said = restore("deep.png", "cat.jpg", "--format", "jpeg")
    assert status == 2
    (error,) = errors(said)
    assert error == (
        "error: deep.png: JPEG files hold 8 bits per channel, the picture has 16;"
        " choose another format"
    )
    assert read("out/cat.jpg").file_format == "JPEG"
    assert restore("deep.png", "cat.jpg", "--format", "tiff")[0] == 0
    assert read("out/deep.tif").pixels.dtype == np.uint16
    assert restore("deep.png", "cat.jpg", "--format", "same", "--suffix", "2")[0] == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "cat.jpg", "cat.tif", "cat2.jpg", "deep.tif", "deep2.png",
    ]  # fmt: skip


def test_the_limit_of_pillow_is_lifted_only_for_the_command(restore, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # of which Pillow allows twice as many
    Image.fromarray(CAT).save("cat.png")
    with pytest.raises(UserError, match="too large a picture"):
        read("cat.png")
    assert restore("cat.png")[0] == 0
    assert Image.MAX_IMAGE_PIXELS == 300


def test_nothing_replaces_an_input(restore, checkpoint, capsys):
    Image.fromarray(CAT).save("cat.png")
    before = Path("cat.png").read_bytes()
    words = ["restore", "--checkpoint", str(checkpoint), "--output", ".", "cat.png"]
    assert main(words) == 2
    assert errors(capsys.readouterr().err) == [
        "error: cat.png: is an input; choose another output folder or a suffix"
    ]
    assert Path("cat.png").read_bytes() == before


def test_what_cannot_be_read_is_not_replaced_either(restore):
    frames = [Image.fromarray(CAT), Image.fromarray(CAT[::-1])]
    Path("photos").mkdir()
    frames[0].save("photos/a.jpg")
    frames[0].save("photos/a.png", save_all=True, append_images=frames[1:])
    before = Path("photos/a.png").read_bytes()
    status, _, said = restore("photos", "--output", "photos")
    assert status == 2
    assert errors(said) == [
        "error: photos/a.png: is an input; choose another output folder or a suffix"
    ]
    assert Path("photos/a.png").read_bytes() == before


def test_a_picture_too_large_for_the_memory(restore):
    Image.fromarray(CAT).save("cat.png")
    Image.fromarray(data.chelsea()).save("large.png")
    arguments = ["cat.png", "large.png", "--memory", "30M"]
    status, _, said = restore(*arguments)
    assert status == 2
    assert errors(said) == [
        "error: large.png: 451×300 pixels need about 0.13 GB of memory, 0.03 GB may be used;"
        " up to 200×136 fit, or tiles of 152 (approximate: --tile auto), or more devices"
        " (--mesh height=N)"
    ]
    assert Path("out/cat.png").exists()
    assert restore(*arguments, "--tile", "auto", "--skip-existing")[0] == 0
    assert read("out/large.png").pixels.shape == (300, 451, 3)


@pytest.fixture(scope="module")
def sensing(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "cs.safetensors"
    dgunet_jax.save(path, *choices.make("sensing"))
    return path


def test_a_compressive_sensing_checkpoint_names_the_command_that_works(restore, sensing):
    Image.fromarray(CAT).save("cat.png")
    status, _, said = restore("cat.png", checkpoint=sensing)
    assert status == 2
    (error,) = errors(said)
    command = f"dgunet sense --checkpoint {sensing} INPUT... --output out"
    assert error.endswith(command)
    words = command.replace("INPUT...", "cat.png").split()[1:]
    assert main(words) == 0
    model, variables = choices.make("sensing")
    luma = np.rint(CAT @ [0.299, 0.587, 0.114])[..., None] / 255
    image = np.pad(luma.astype(np.float32), ((0, 8), (0, 0), (0, 0)))
    expected = choices.run(model, variables, image[None])[-1, 0, :24].clip(0, 1) * 255
    found = read("out/cat.png").pixels
    assert found.shape == (24, 32, 1)
    assert np.abs(found - expected).max() < 0.501


def test_sensing_is_for_sensing_checkpoints(restore, checkpoint):
    Image.fromarray(CAT).save("cat.png")
    status, _, said = restore("cat.png", command="sense")
    assert status == 2
    assert "is not for compressive sensing; it restores pictures with dgunet restore" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tile", "many"], "--tile many: must be a number of pixels or auto"),
        (["--tile", "30"], "tile is 30; it must be a multiple of 8, at least 64"),
        (["--memory", "lots"], "--memory lots: must be a size such as 6G or 500M"),
        (["--memory", "0"], "--memory 0: must be a size such as 6G or 500M"),
        (["--memory", "9" * 5000], f"--memory {'9' * 5000}: must be a size such as 6G or 500M"),
        (["--tile", "8" * 5000], f"--tile {'8' * 5000}: must be a number of pixels or auto"),
        (["--mesh", "height=64"], "--mesh height=64: needs 64 devices; there"),
        (["--mesh", "width=2"], "--mesh width=2: must be height=N or batch=N"),
        (["--suffix", "a/b"], "--suffix a/b: must not contain a path"),
        (["--suffix", "a\\b"], "--suffix a\\b: must not contain a path"),
        (["--format", "gif"], "argument --format: invalid choice: 'gif'"),
        (["--num-stages", "1"], "num_stages is 1; it must be at least 2"),
        (["--output", "cat.png"], "cat.png: cannot be made: cat.png is not a directory"),
        (["--output", "cat.png/x"], "cat.png/x: cannot be made: "),
    ],
)
def test_mistakes_are_one_line(restore, arguments, message):
    Image.fromarray(CAT).save("cat.png")
    status, _, said = restore("cat.png", *arguments)
    assert status == 2
    (error,) = errors(said)
    assert message in error
    assert not Path("out").exists()


def test_compiled_programs_are_kept_unless_told_otherwise(checkpoint, tmp_path):
    Image.fromarray(CAT).save("cat.png")
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    words = [sys.executable, "-m", "dgunet_jax.cli", "restore", "--checkpoint", str(checkpoint)]
    words += ["cat.png", "--output", "out"]
    subprocess.run([*words, "--no-cache"], env=environment, check=True, capture_output=True)
    assert not list(tmp_path.glob("cache/*"))
    subprocess.run(words, env=environment, check=True, capture_output=True)
    assert list(tmp_path.glob("cache/*"))


def test_a_missing_checkpoint_is_named(restore):
    Image.fromarray(CAT).save("cat.png")
    status, _, said = restore("cat.png", checkpoint="gone.pth")
    assert status == 2
    assert errors(said) == ["error: gone.pth: there is no such file or directory"]


@pytest.mark.parametrize(
    ("ending", "form"), [("png", "png"), ("jpg", "jpeg"), ("webp", "webp"), ("tif", "tiff")]
)
def test_restore_says_in_its_files_that_the_stages_are_assumed(restore, tmp_path, ending, form):
    from dgunet_jax.convert.pytorch import to_pytorch
    from dgunet_jax.convert.torch_file import write_torch

    write_torch(tmp_path / "official.pth", to_pytorch(*network()))
    Image.fromarray(CAT).save("cat.png")
    told = ("--num-stages", "3")
    for name, words in (("assumed", ()), ("told", told)):
        status, _, err = restore(
            "cat.png", "--format", form, "--suffix", f"_{name}", *words, checkpoint="official.pth"
        )
        assert status == 0
        assert ("7 are assumed" in err) == (name == "assumed"), err
        with Image.open(f"out/cat_{name}.{ending}") as image:
            said = f"{image.info.get('Comment')} {image.getexif().get(0x0131)}"
        remark = "dgunet_jax: restored with 7 stages, which is assumed"
        assert (remark in said) == (name == "assumed")


def test_processes_share_the_pictures(checkpoint, capsys):
    for i in range(5):
        write(Path("in") / f"{i}.png", Picture(np.roll(CAT, i, axis=0)))

    def run(folder, *more):
        words = ["restore", "--checkpoint", str(checkpoint), "--output", folder, "in", *more]
        status = main(words)
        said = capsys.readouterr()
        return status, said.out.count("wrote "), said.err

    assert run("alone")[:2] == (0, 5)
    for count in (2, 4):
        shares = [run(f"{count}", f"--processes={count}", f"--process={i}") for i in range(count)]
        assert [status for status, _, _ in shares] == [0] * count
        assert [wrote for _, wrote, _ in shares] == [len(range(i, 5, count)) for i in range(count)]
        for path in Path("alone").iterdir():
            assert Path(f"{count}", path.name).read_bytes() == path.read_bytes()
    # One of them was killed after its first picture.
    Path("2/2.png").unlink()
    again = ["--processes=2", "--process=0", "--skip-existing"]
    assert run("2", *again)[:2] == (0, 1)
    assert Path("2/2.png").read_bytes() == Path("alone/2.png").read_bytes()
    for wrong, message in (
        (["--processes=2"], "--process (JAX_PROCESS_ID)"),
        (["--processes=2", "--process=2"], "the process is 2 of 2"),
    ):
        status, _, warned = run("2", *wrong)
        assert status == 2
        assert message in errors(warned)[0]
    words = ["restore", "--checkpoint", str(checkpoint), "in", "--processes=2", "--process=0"]
    assert main(words) == 2
    assert "--processes: needs --output" in capsys.readouterr().err
