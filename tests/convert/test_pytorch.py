"""State dicts of the released models to variables and back."""

import numpy as np
import pytest

from dgunet_jax import UserError, from_pytorch, to_pytorch
from dgunet_jax.convert.pytorch import count_parameters, read_official
from tests import golden_numbers
from tests.small import equal, network


@pytest.mark.parametrize("name", golden_numbers.NAMES)
def test_there_and_back_keeps_every_used_weight(name: str):
    golden, official = golden_numbers.load(name), golden_numbers.official_weights(name)
    model, variables = from_pytorch(official, golden.num_stages)
    counts = count_parameters(model.config)
    assert counts.used + counts.unused == golden.num_parameters
    # The recorded gradients say which weights the official code never uses.
    never = {key for key, gradient in golden.gradients.items() if gradient is None}
    assert never <= set(counts.unused_keys)
    assert set(counts.unused_keys) - never <= set(official) - set(golden.gradients)

    back = to_pytorch(model, variables)
    assert {k: v.shape for k, v in back.items()} == {k: v.shape for k, v in official.items()}
    for key, array in back.items():
        assert array.dtype == np.float32
        expected = np.zeros_like(array) if key in counts.unused_keys else official[key]
        np.testing.assert_array_equal(array, expected, err_msg=key)

    again, variables_again = from_pytorch(back, golden.num_stages)
    assert again.config == model.config
    assert equal(variables_again, variables)


def test_layouts_are_linear():
    model, variables = from_pytorch(golden_numbers.official_weights("tiny"), 4)
    double = to_pytorch(model, {"params": _scaled(variables["params"], 2.0)})
    for key, array in to_pytorch(model, variables).items():
        np.testing.assert_array_equal(double[key], 2 * array)


def _scaled(tree, factor):
    return (
        {k: _scaled(v, factor) for k, v in tree.items()}
        if isinstance(tree, dict)
        else tree * factor
    )


def test_the_prefix_of_several_gpus_goes_only_if_every_name_has_it():
    official = golden_numbers.official_weights("tiny")
    prefixed = {f"module.{key}": value for key, value in official.items()}
    assert equal(from_pytorch(prefixed, 4)[1], from_pytorch(official, 4)[1])
    prefixed["tail.weight"] = prefixed.pop("module.tail.weight")
    with pytest.raises(UserError, match=r"1 tensor that no released model has: tail\.weight"):
        from_pytorch(prefixed, 4)


def test_wrapped_weights_are_chosen_by_name():
    official = golden_numbers.official_weights("tiny")
    average = {f"module.{key}": value + 1 for key, value in official.items()}
    saved = {"params": official, "params_ema": average, "epoch": 3}
    unwrapped = {key: value + 1 for key, value in official.items()}
    assert equal(from_pytorch(saved, 4)[1], from_pytorch(unwrapped, 4)[1])
    assert equal(from_pytorch(saved, 4, "params")[1], from_pytorch(official, 4)[1])


def test_what_is_no_weight_is_left_out_and_that_is_said():
    official = golden_numbers.official_weights("tiny")
    beside = {"epoch": 3, "phi_0.num_batches_tracked": np.array(5), "_extra_state": None}
    found = read_official({**official, **beside, "total_ops": np.zeros(1)}, 4, None, dict)
    assert found.notes == (
        "left out, as no weights: epoch, phi_0.num_batches_tracked, _extra_state, total_ops",
    )
    with pytest.raises(UserError, match="1 wrong tensor: r0 is None, not an array"):
        from_pytorch({**official, "r0": None}, 4)


def test_stages_that_are_saved_beside_the_weights_are_read_and_others_are_assumed():
    official = golden_numbers.official_weights("tiny")
    saved = {"state_dict": official, "num_stages": 4}
    told = read_official(saved, None, None, dict)
    assert (told.model.config.num_stages, told.stages_assumed, told.notes) == (4, False, ())
    assumed = read_official({"state_dict": official}, None, None, dict)
    assert (assumed.model.config.num_stages, assumed.stages_assumed) == (7, True)
    assert "7 are assumed" in assumed.notes[0]
    given = read_official(saved, 5, None, dict)
    assert (given.model.config.num_stages, given.stages_assumed) == (5, False)
    assert given.notes == ("was saved with 4 stages; it is read with 5",)
    saved["num_stages"] = 3000
    with pytest.raises(UserError, match="num_stages is 3000; it must be at most 100"):
        from_pytorch(saved)


def test_names_and_shapes_are_checked_before_values_are_made():
    def values(tensors):
        raise AssertionError("values are not needed to see that a shape is wrong")

    official = golden_numbers.official_weights("tiny")
    official["tail.weight"] = np.broadcast_to(np.float16(0), (2**20, 2**20, 3, 3))
    with pytest.raises(UserError, match=r"tail\.weight has shape \(1048576, 1048576, 3, 3\)"):
        read_official(official, 4, None, values)
    official["shallow_feat1.0.weight"] = np.broadcast_to(np.float32(0), (2**30, 3, 3, 3))
    with pytest.raises(UserError, match="width is 1073741824; it must be at most 65536"):
        read_official(official, 4, None, values)


def test_half_precision_becomes_float32():
    official = golden_numbers.official_weights("tiny")
    half = {key: value.astype(np.float16) for key, value in official.items()}
    rounded = {key: value.astype(np.float32) for key, value in half.items()}
    assert equal(from_pytorch(half, 4)[1], from_pytorch(rounded, 4)[1])


def test_stages_are_seven_unless_told_and_read_where_the_file_tells():
    assert from_pytorch(golden_numbers.official_weights("tiny"))[0].config.num_stages == 7
    plus = golden_numbers.official_weights("tiny_plus")
    assert from_pytorch(plus, 7)[0].config.num_stages == 7
    with pytest.raises(UserError, match="has 7 stages; it cannot be read with 5"):
        from_pytorch(plus, 5)
    assert from_pytorch(golden_numbers.official_weights("tiny_cs"))[0].config.num_stages == 4
    with pytest.raises(UserError, match="num_stages is 1; it must be at least 2"):
        from_pytorch(golden_numbers.official_weights("tiny"), 1)


def test_everything_wrong_is_told_at_once():
    official = golden_numbers.official_weights("tiny")
    del official["tail.weight"], official["basic.concat12.weight"]
    official["extra.weight"] = np.zeros(1, np.float32)
    official["r0"] = np.zeros(2, np.float32)
    with pytest.raises(UserError) as error:
        from_pytorch(official, 4)
    for part in (
        "4 wrong tensors",
        "missing tail.weight",
        "missing basic.concat12.weight",
        "unexpected extra.weight",
        "r0 has shape (2,), not (1,)",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_copies_of_a_tied_weight_must_agree():
    official = golden_numbers.official_weights("tiny")
    official["phit_6.body.1.weight"] = official["phit_6.body.1.weight"] + 1
    with pytest.raises(UserError, match=r"phit_6\.body\.1\.weight differs from"):
        from_pytorch(official, 4)


@pytest.mark.parametrize(
    "state_dict",
    [{}, {"conv.weight": np.zeros((3, 3), np.float32)}, {"r0": np.zeros(1, np.float32)}],
)
def test_a_stranger_is_refused(state_dict):
    with pytest.raises(UserError, match="not a DGUNet checkpoint"):
        from_pytorch(state_dict)


def test_a_missing_tensor_that_sizes_are_read_off_is_named():
    official = golden_numbers.official_weights("tiny")
    del official["concat67.weight"]
    with pytest.raises(UserError, match=r"concat67\.weight is missing"):
        from_pytorch(official, 4)


def test_integers_are_no_weights():
    official = golden_numbers.official_weights("tiny")
    official["r0"] = np.ones(1, np.int64)
    with pytest.raises(UserError, match="r0 is int64"):
        from_pytorch(official, 4)


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ({"degradation": "identity"}, "degradation='identity'"),
        ({"memory_scales": (0,)}, r"memory_scales=\(0,\)"),
        ({"num_stages": 2}, "2 stages"),
    ],
)
def test_a_network_the_official_code_cannot_build_is_refused(choice, named):
    with pytest.raises(UserError, match=named):
        to_pytorch(*network(**choice))
