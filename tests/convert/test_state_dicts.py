"""The weights of a released network are found by their names, whatever is around them."""

import operator
from typing import Any

import numpy as np
import pytest

from dgunet_jax.convert import state_dict
from dgunet_jax.convert.storage import Opaque, UnreadTensor
from dgunet_jax.system.errors import UserError

# Enough of a released network's names to recognise it.
NAMES = ("r0", "basic.r1", "shallow_feat1.0.weight")


def weights(value: float = 0.0, prefix: str = "") -> dict[str, Any]:
    return {prefix + name: np.full(1, value, np.float32) for name in NAMES}


def equal(a: state_dict.Weights, b: state_dict.Weights) -> bool:
    return all(np.array_equal(a.tensors[name], b.tensors[name]) for name in NAMES)


def chosen(saved: Any, name: str | None = None) -> tuple[float, list[str]]:
    """The value of the weights that are read, and the notes."""
    found, notes = state_dict.choose(saved, name, equal)
    assert set(NAMES) <= set(found.tensors)
    (value,) = {found.tensors[name].item() for name in NAMES}
    return value, notes


def refusal(saved: Any, name: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        state_dict.choose(saved, name, equal)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "model.", "net_g.", "_orig_mod.", "module.module.", "model._orig_mod.net."],
)
def test_any_prefix_that_all_names_have_is_taken_off(prefix):
    assert chosen(weights(3, prefix)) == (3, [])


@pytest.mark.parametrize(
    "saved",
    [
        {"params_ema": weights(3)},
        {"state": {"deep": {"model": weights(3, "module.")}, "optimizer": {"lr": 1}}},
        [{"lr": 1}, weights(3)],
        (5, [weights(3)]),
        list(weights(3).items()),
        {"epoch": 3, "model": Opaque("mine.Dict", items=weights(3))},
        Opaque("mine.State", state={"model": weights(3)}),
        Opaque("collections.OrderedDict", ([[key, value] for key, value in weights(3).items()],)),
        {"model": weights(3), "optimizer": {"state": {0: {"exp_avg": np.zeros(3, np.float32)}}}},
        {"net_g": weights(3), "net_d": {"conv.weight": np.zeros((1, 1), np.float32)}},
    ],
)
def test_any_wrapper_of_any_depth(saved):
    assert chosen(saved) == (3, [])


def test_averages_are_preferred_and_that_is_said():
    for saved in (
        {"params": weights(1), "params_ema": weights(2)},
        {"state": {"ema": weights(2), "model": weights(1)}},
        {"model": weights(1), "modelEMA": weights(2)},
        weights(1, "online_model.") | weights(2, "ema_model.") | {"step": np.int64(3)},
        {"model": weights(1), "other": weights(2, "module.") | {"n_averaged": np.int64(5)}},
    ):
        value, notes = chosen(saved)
        assert value == 2
        assert len(notes) == 1
        assert "is read (another: --weights NAME)" in notes[0]
    assert chosen({"params": weights(1), "params_ema": weights(2)}, "params") == (1, [])
    assert chosen({"a": {"b": weights(1)}, "c": weights(2)}, "a.b") == (1, [])
    flat = weights(1, "online_model.") | weights(2, "ema_model.")
    assert chosen({"state_dict": flat}, "state_dict.online_model") == (1, [])


def test_a_word_that_only_contains_ema_is_no_average():
    assert "choose one" in refusal({"schema": weights(1), "semantic": weights(2)})


def test_equal_sets_are_one():
    same = weights(1)
    assert chosen({"model": weights(1), "ema": weights(1)}) == (1, [])
    assert chosen({"model": same, "best": same}) == (1, [])


def test_several_sets_are_asked_for_by_name():
    saved = {"last": weights(1), "best": weights(2)}
    assert "sets of weights: last, best; choose one (--weights NAME)" in refusal(saved)
    assert "no weights under worst; it has last, best" in refusal(saved, "worst")
    assert chosen(saved, "best") == (2, [])
    assert "choose one" in refusal({"ema": weights(1), "swa": weights(2), "model": weights(3)})


def test_tensors_outside_the_weights_are_an_error_unless_the_weights_are_named():
    saved = {"state_dict": weights(1, "model.") | {"loss.vgg.weight": np.zeros((3, 3), np.float32)}}
    message = refusal(saved)
    assert "1 tensor that no released model has: loss.vgg.weight" in message
    assert "--weights state_dict" in message
    assert chosen(saved, "state_dict") == (1, [])
    assert "basic.r2" in refusal(weights(1, "module.") | {"basic.r2": UnreadTensor("sparse")})


@pytest.mark.parametrize(
    ("key", "value", "weight"),
    [
        ("a", np.zeros(1, np.float32), True),
        ("a", np.zeros((2, 2), np.float16), True),
        ("a", UnreadTensor("quantised"), True),
        ("epoch", 3, False),
        ("epoch", np.array(3), False),
        ("num_batches_tracked", np.zeros(1, np.int64), False),
        ("best", np.array(1.5), False),
        ("mask", np.zeros(3, bool), False),
        ("noted", UnreadTensor("uint16"), False),
        ("conv.total_ops", np.zeros(1), False),
        ("_extra_state", np.zeros(0), False),
        ("config", {"a": 1}, False),
        ("object", Opaque("a.b"), False),
    ],
)
def test_what_could_be_a_weight(key, value, weight):
    assert state_dict.is_weight(key, value) == weight


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (None, "it holds None, but no weights"),
        ([1, 2], "it holds a list, but no weights"),
        ({}, "it holds a dict, but no weights"),
        (Opaque("torch.nn.Linear"), "an object of 'torch.nn.Linear', but no weights"),
        ({"r0": np.zeros(1)}, "no released model has such names (r0, …)"),
        ({"a": {"conv\n\x1b[2J": np.zeros(1)}}, r"such names (conv\n\x1b[2J, …)"),
    ],
)
def test_what_holds_no_weights_is_told(saved, message):
    assert message in refusal(saved)


def test_nothing_that_a_file_holds_costs_time_or_depth():
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = weights(1)
    for _ in range(10_000):
        deep = [deep]
    shared: Any = {"_parameters": {}, "_modules": {}}
    for _ in range(100):
        shared = {
            "_parameters": {},
            "_modules": {"a": Opaque("x", state=shared), "b": Opaque("x", state=shared)},
        }
    many = {f"{'a.' * n}r0": np.zeros(1) for n in range(2000)}
    everywhere = {str(n): weights_ for n, weights_ in enumerate([weights(1)] * 10_000)}
    for saved in (circle, deep, Opaque("x", state=shared), many):
        assert "not a DGUNet checkpoint" in refusal(saved)
    found, _ = state_dict.choose(everywhere, None, lambda a, b: operator.is_(a.tensors, b.tensors))
    assert found.tensors["r0"] == 1
