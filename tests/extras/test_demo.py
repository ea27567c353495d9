"""`dgunet demo`, as a visitor uses it: a server of its own, and Chromium."""

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from skimage import data

import dgunet_jax
from dgunet_jax import Restorer, trace, unfold
from dgunet_jax.cli import main
from dgunet_jax.demo.networks import read_networks
from dgunet_jax.images import Picture, read, write
from dgunet_jax.metrics import psnr
from tests import choices
from tests.small import network

CAT = data.chelsea()[100:196, 100:228]
CUP = data.coffee()[100:180, 200:272]
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
CHROMIUM += [f"--disable-{each}" for each in ("background-networking", "component-update", "sync")]
PATIENCE = 60_000  # ms, for machines that do much else
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "net.safetensors"
    dgunet_jax.save(path, *network())
    return path


class Server:
    """`dgunet demo` as a process; its files lie in `folder`, what it says in `log`."""

    def __init__(self, folder, *words):
        self.folder, self.log = folder / "files", folder / "log"
        self.folder.mkdir()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dgunet_jax", "demo", "--port", "0", *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(self.folder)},
            )
        while not self.said():
            assert self.process.poll() is None
            time.sleep(0.1)
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+/) shows the page; .*\n", self.said())
        assert found, self.said()
        self.address = found[1]

    def said(self):
        return self.log.read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory, checkpoint):
    words = "--memory", "1G", "--checkpoint", str(checkpoint)
    server = Server(tmp_path_factory.mktemp("server"), *words)
    yield server
    server.process.kill()
    server.process.wait()


@contextlib.contextmanager
def chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.fail(f"none of {', '.join(names)} is on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(server, browser):
    """Open the page as somebody new; in the end, nobody but the server has been asked anything."""
    requests, errors = [], []
    with contextlib.ExitStack() as stack:

        def visit():
            context = browser.new_context(viewport={"width": 1200, "height": 1000})
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            page.on("request", lambda request: requests.append(request.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(server.address)
            page.get_by_role("radio", name="net.safetensors").click()
            return page

        yield visit
    asked = {urlsplit(url).netloc for url in requests if not url.startswith(("data:", "blob:"))}
    assert asked == {urlsplit(server.address).netloc}
    assert errors == []
    assert server.said() == f"{server.address} shows the page; Ctrl-C ends it\n"


def upload(page, place, path):
    field = page.locator(f"#{place} input[type=file]")
    if not field.count():  # a file is there
        page.locator(f"#{place}").get_by_label("Clear").click()
    field.set_input_files(path)


def restore(page):
    page.get_by_role("button", name="Restore").click()
    expect(page.locator("#shown img")).to_be_visible()


def download(page, folder):
    with page.expect_download() as found:
        page.get_by_text("Download PNG").click()
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def commanded(checkpoint, path, folder, *more):
    """What `dgunet restore` makes of a picture."""
    words = ["restore", "--checkpoint", checkpoint, path, "--output", folder / "commanded", *more]
    assert main([*map(str, words)]) == 0
    return folder / "commanded" / f"{path.stem}.png"


def assert_same(path, expected_path):
    found, expected = read(path), read(expected_path)
    assert found.pixels.dtype == expected.pixels.dtype
    difference = found.pixels.astype(int) - expected.pixels
    assert np.abs(difference).max() <= (1 if found.bits == 8 else 2)  # rounding may go either way
    np.testing.assert_array_equal(found.alpha, expected.alpha)
    assert found.exif == expected.exif


def shown(page, place):
    """The images that a component shows, (H, W, 3)."""
    addresses = [each.get_attribute("src") for each in page.locator(f"#{place} img").all()]
    found = [Image.open(io.BytesIO(page.request.get(each).body())) for each in addresses]
    return [np.asarray(each.convert("RGB")).astype(int) for each in found]


def press(page, place, key, times=1):
    for _ in range(times):
        page.locator(f"#{place} input[type=range]").press(key)


def drag(page, to):
    """Move the handle between before and after to a fraction of the width."""
    box = page.locator("#compared").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + to * box["width"], y, steps=5)
    page.mouse.up()


def test_what_is_downloaded_is_what_the_command_writes(visit, server, checkpoint, tmp_path):
    alpha = np.arange(CAT[..., 0].size, dtype=np.uint16).reshape(CAT.shape[:2])
    deep = tmp_path / "deep.png"
    write(deep, Picture(CAT.astype(np.uint16) * 257 - np.uint16(3), alpha))
    turned, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(CUP).save(turned, exif=exif, quality=95)
    page = visit()
    kept = set()
    for path in (deep, turned):
        upload(page, "picture", path)
        expect(page.locator("#picture")).to_contain_text(path.stem)
        expect(page.locator("#compared img")).to_have_count(2)
        restore(page)
        assert all(not folder.exists() for folder in kept)  # of the picture before
        kept = {file.parent for file in server.folder.glob("*/*/0.npy")} - kept
        assert kept
        expected = commanded(checkpoint, path, tmp_path)
        written = download(page, tmp_path)
        assert written.name == f"{path.stem}_restored.png"
        assert_same(written, expected)
        assert read(written).bits == read(path).bits
    before, after = (each.get_attribute("src") for each in page.locator("#compared img").all())
    press(page, "strength", "ArrowLeft", 4)
    expect(page.locator("#strength input[type=number]")).to_have_value("0.8")
    expect(page.locator("#compared img").nth(1)).not_to_have_attribute("src", after)
    expect(page.locator("#compared img").nth(0)).to_have_attribute("src", before)
    expected = commanded(checkpoint, turned, tmp_path / "weak", "--strength", 0.8)
    assert_same(download(page, tmp_path), expected)


def test_steps_differences_and_scores_are_the_networks(visit, checkpoint, tmp_path):
    noisy, clean = tmp_path / "noisy.png", tmp_path / "clean.png"
    rng = np.random.default_rng(0)
    pixels = (CAT[:90, :125] + rng.normal(0, 20, (90, 125, 3))).clip(0, 255).astype(np.uint8)
    write(noisy, Picture(pixels))
    write(clean, Picture(CAT[:90, :125].copy()))
    wide = np.pad(pixels / np.float32(255), ((0, 6), (0, 3), (0, 0)), "reflect")
    traced = trace(unfold(*network()), jnp.asarray(wide[None]))
    steps = [pixels / np.float32(255)]
    for stage in traced.stages:
        steps += [np.asarray(each)[0, :90, :125].clip(0, 1) for each in (stage.v, stage.x)]
    scores = [psnr(step, CAT[:90, :125] / 255) for step in steps]

    page = visit()
    upload(page, "picture", noisy)
    upload(page, "clean", clean)
    restore(page)
    expect(page.locator("#scores")).to_contain_text(f"input {scores[0]:.2f} dB")
    assert page.locator("#stage input[type=range]").get_attribute("max") == "6"
    press(page, "factor", "ArrowRight", 2)
    names = ["input", "v₁", "x₁", "v₂", "x₂", "v₃", "x₃"]
    for place in (6, 5, 4, 3, 2, 1, 0):
        name = names[place]
        expect(page.locator("#text")).to_contain_text(name)
        expect(page.locator("#text")).to_contain_text(f"PSNR {scores[place]:.2f} dB")
        expect(page.locator("#shown")).to_contain_text(name)
        expect(page.locator("#difference")).to_contain_text(f"7 · ({name} − input)")
        (step,), (difference,) = shown(page, "shown"), shown(page, "difference")
        assert np.abs(step - 255 * steps[place]).max() <= 1
        expected = 127.5 + 7 * 255 * (steps[place] - steps[0])
        assert np.abs(difference - expected.clip(0, 255)).max() <= 2
        press(page, "stage", "ArrowLeft")

    before, after = shown(page, "compared")
    np.testing.assert_array_equal(before, pixels)
    assert np.abs(after - 255 * steps[6]).max() <= 1
    left = page.locator("#compared").screenshot()
    drag(page, 0.05)
    assert page.locator("#compared").screenshot() != left


def test_mistakes_are_told_in_one_line(visit, tmp_path):
    broken, large, clean = (tmp_path / f"{name}.png" for name in ("broken", "large", "clean"))
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    write(large, Picture(np.zeros((1500, 2000, 3), np.uint8)))
    write(clean, Picture(CUP.copy()))
    write(tmp_path / "cat.png", Picture(CAT.copy()))
    with (tmp_path / "heavy.tif").open("wb") as file:
        file.truncate(201 * 2**20)
    page = visit()
    told = page.locator(".toast-body")

    def dismissed(text):
        expect(told).to_have_count(1)
        expect(told).to_contain_text(text)
        line = told.inner_text()
        told.get_by_test_id("toast-close").click()
        expect(told).to_have_count(0)
        return line

    page.get_by_role("button", name="Restore").click()
    dismissed("there is no picture; choose one, or an example")
    upload(page, "picture", broken)
    dismissed("broken.png: ")
    page.get_by_role("button", name="Restore").click()
    dismissed("broken.png: ")
    upload(page, "picture", large)
    dismissed("large.png: 2000×1500 pixels need about")
    upload(page, "picture", tmp_path / "heavy.tif")
    dismissed("exceed the maximum allowed size of 200.0 Mb")
    expect(page.locator("#picture input[type=file]")).to_have_count(1)
    upload(page, "picture", tmp_path / "cat.png")
    upload(page, "clean", clean)
    page.get_by_role("button", name="Restore").click()
    dismissed("clean.png: has 72×80 pixels, the picture 128×96")


def test_people_wait_for_each_other_and_get_their_own(visit, checkpoint, tmp_path):
    paths = [tmp_path / "cat.png", tmp_path / "cup.png"]
    write(paths[0], Picture(np.tile(CAT, (2, 2, 1))))
    write(paths[1], Picture(CUP.copy()))
    pages = [visit(), visit()]
    for page, path in zip(pages, paths, strict=True):
        upload(page, "picture", path)
        expect(page.locator("#compared img")).to_have_count(2)
    for page in pages:
        page.get_by_role("button", name="Restore").click()
    expect(pages[1].locator("#compared")).to_contain_text("queue: 1/1")
    for page, path in zip(pages, paths, strict=True):
        expect(page.locator("#shown img")).to_be_visible()
        assert_same(download(page, tmp_path), commanded(checkpoint, path, tmp_path))


def test_an_example_chooses_its_model(visit):
    page = visit()
    page.locator("#samples button").nth(1).click()
    expect(page.locator("#picture")).to_contain_text("coffee")
    expect(page.locator("#clean")).to_contain_text("coffee")
    expect(page.get_by_role("radio", name="camera")).to_be_checked()
    expect(page.locator("#model")).to_contain_text("the noise of cameras and phones")
    expect(page.locator("#compared img")).to_have_count(2)


def test_the_server_ends_while_it_computes_and_leaves_nothing(visit, server, tmp_path):
    write(tmp_path / "cats.png", Picture(np.tile(CAT, (3, 2, 1))))
    page = visit()
    upload(page, "picture", tmp_path / "cats.png")
    expect(page.locator("#compared img")).to_have_count(2)
    page.get_by_role("button", name="Restore").click()
    expect(page.locator("#compared")).to_contain_text("processing")
    assert list(server.folder.iterdir())
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(PATIENCE / 1000) == 0
    assert list(server.folder.iterdir()) == []
    page.close()


@pytest.mark.parametrize("name", ["plus", "tied", "no_degradation"])
def test_steps_are_those_of_the_trace_and_of_the_restorer(name, tmp_path):
    size = 13, 21
    model, variables = choices.make(name, num_stages=2)
    path = tmp_path / "net.safetensors"
    dgunet_jax.save(path, model, variables)
    image = choices.images(*size, 3)
    network = read_networks([path], memory=None)[str(path)]
    steps = [*network.steps(image)]
    bottom, right = (-side % 8 for side in size)
    wide = jnp.asarray(np.pad(image, ((0, bottom), (0, right), (0, 0)), "reflect")[None])
    expected = [e for s in trace(unfold(model, variables), wide).stages for e in (s.v, s.x)]
    assert len(steps) == len(expected)
    for step, whole in zip(steps, expected, strict=True):
        np.testing.assert_allclose(step, whole[0, : size[0], : size[1]], rtol=0, atol=1e-5)
    np.testing.assert_allclose(steps[-1], Restorer(model, variables)(image), rtol=0, atol=1e-6)


def refused(capsys, *words):
    """The line that a command line gets which cannot be served."""
    assert main(["demo", *map(str, words)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def test_what_cannot_be_served_is_told_in_one_line(capsys, tmp_path):
    (tmp_path / "text.pth").write_text("no checkpoint")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(capsys, "--port", port).startswith(f"error: --port {port}: is in use;")
    assert "--port 65536: must be from 0 to 65535" in refused(capsys, "--port", 65536)
    assert "--host 192.0.2.1" in refused(capsys, "--host", "192.0.2.1", "--port", 0)
    assert "--memory lots: must be a size" in refused(capsys, "--memory", "lots")
    line = refused(capsys, "--port", 0, "--checkpoint", tmp_path / "text.pth")
    assert line.startswith(f"error: {tmp_path / 'text.pth'}: ")
    for name, rule in [
        ("any_operator", "needs the operator that degrades the pictures"),
        ("sensing", "is for compressive sensing; dgunet sense takes it"),
        ("grey", "takes images of 1 channels; pictures have 3"),
    ]:
        path = name
        if name != "any_operator":
            path = tmp_path / f"{name}.safetensors"
            dgunet_jax.save(path, *choices.make(name))
        assert f"error: {path}: {rule}" in refused(capsys, "--port", 0, "--checkpoint", path)


def test_without_gradio_the_extra_is_named(capsys, monkeypatch):
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")  # so that they are as before afterwards
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "dgunet_jax.demo.page", raising=False)
    line = refused(capsys, "--port", 0)
    assert line == "error: gradio is not installed; pip install 'dgunet_jax[demo]' has it"
