"""Every parameter of a network: its official key and its place in the tree."""

import dataclasses
from collections.abc import Collection, Iterator

from dgunet_jax.models.config import VARIANTS, DGUNetConfig
from dgunet_jax.models.layers import NUM_SCALES
from dgunet_jax.system.errors import UserError

CONV, UPSAMPLE, SCALAR, PLAIN = "conv", "upsample", "scalar", "plain"

FIRST_NAMES = ("r0", "shallow_feat1.0.weight")
"""Names of the first stage, which every released model has; no other stage's names end so."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One official tensor.

    Attributes:
      key: its official name.
      path: where it stands under "params", names joined by dots; None: the
        official code never uses it.
      layout: `conv` OIHW ↔ HWIO, `upsample` IOHW ↔ HWIO, `scalar` (1,) ↔ (), or `plain`.
      index: the middle stage it belongs to, where each has its own weights.
      copies: further official names of the same tensor.
      shape: official shape of an unused one.
    """

    key: str
    path: str | None
    layout: str = PLAIN
    index: int | None = None
    copies: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Names:
    """Official name of each part of a stage."""

    step_size: str
    shallow: str
    phi: str = ""
    phit: str = ""
    merge: str = ""
    encoder: str = ""
    decoder: str = ""
    attention: str = ""


def rows(config: DGUNetConfig) -> list[Row]:
    """Every tensor of the official checkpoint of a network.

    Raises:
      UserError: the network has choices that no released model makes.
    """
    check_official(config)
    table = list(_stage_rows(config, "first", _first(config), None))
    middle = [_middle(config, i) for i in range(1 if config.share_middle else config.num_middle)]
    for i, names in enumerate(middle):
        table += _stage_rows(config, "middle", names, None if config.share_middle else i)
    last = _last(config)
    table += _stage_rows(config, "last", last, None)
    table.append(Row("tail.weight", "last.tail.kernel", CONV))

    stages = [_first(config), *middle, last]
    owners = [_first(config), last] if config.own_attention_slopes else stages
    slopes = [f"{names.shallow}.1.body.1.weight" for names in owners]
    table.append(Row(slopes[0], "attention_slope", SCALAR, copies=tuple(slopes[1:])))
    if config.measurements:
        table.append(Row("Phi", "sampling_matrix"))
        return table + list(_unused_in_sensing(config, middle))
    slopes = [f"{operator}.body.1.weight" for s in stages for operator in (s.phi, s.phit)]
    table.append(Row(slopes[0], "operator_slope", SCALAR, copies=tuple(slopes[1:])))
    if config.share_middle:
        n = config.width
        table.append(Row("basic.concat12.weight", None, shape=(n, 2 * n, 3, 3)))
    return table


def family(names: Collection[str]) -> str | None:
    """Return the variant that has such names and any sizes; None if no released model has."""
    sensing = "Phi" in names
    if "stage_model.r" in names or "basic.r1" in names:
        return "cs" if sensing else "derain"
    if "body.0.r" in names:
        return "cs_plus"
    if "r1" in names and "stage2_encoder.body.0.conv_1.weight" in names:
        return "derain_plus"
    return None


def check_official(config: DGUNetConfig) -> None:
    """Raises a UserError, naming the choices, unless a released model makes the same ones."""
    family = ("cs" if config.measurements else "derain") + ("" if config.share_middle else "_plus")
    free = {"width", "growth", "last_growth", "num_stages", "measurements", "channels"}
    free |= {"blockwise", "dtype", "unroll", "remat", "kernels"}
    differing = [
        f"{field.name}={getattr(config, field.name)!r}"
        for field in dataclasses.fields(config)
        if field.name not in free
        and getattr(config, field.name) != getattr(VARIANTS[family], field.name)
    ]
    if differing:
        raise UserError(f"no official checkpoint has {', '.join(differing)}")
    if not config.num_middle:
        raise UserError(f"no official checkpoint has {config.num_stages} stages; the least is 3")


def _first(config: DGUNetConfig) -> _Names:
    return _Names(
        step_size="r0",
        phi="phi_0",
        phit="phit_0",
        shallow="shallow_feat1",
        encoder="stage1_encoder",
        decoder="stage1_decoder",
        attention="sam12",
    )


def _middle(config: DGUNetConfig, i: int) -> _Names:
    if config.measurements:
        prefix = "stage_model" if config.share_middle else f"body.{i}"
        return _Names(
            step_size=f"{prefix}.r",
            phi=f"{prefix}.phi",
            phit=f"{prefix}.phit",
            shallow=f"{prefix}.shallow_feat",
            merge=f"{prefix}.concat",
            encoder=f"{prefix}.stage_encoder",
            decoder=f"{prefix}.stage_decoder",
            attention=f"{prefix}.sam",
        )
    prefix, stage = "basic." if config.share_middle else "", i + 2
    return _Names(
        step_size=f"{prefix}r{stage - 1}",
        phi=f"{prefix}phi_{stage - 1}",
        phit=f"{prefix}phit_{stage - 1}",
        shallow=f"{prefix}shallow_feat{stage}",
        merge=f"{prefix}merge{stage - 1}{stage}",
        encoder=f"{prefix}stage{stage}_encoder",
        decoder=f"{prefix}stage{stage}_decoder",
        attention=f"{prefix}sam{stage}{stage + 1}",
    )


def _last(config: DGUNetConfig) -> _Names:
    if config.measurements:
        return _Names("r_final", shallow="shallow_feat_final", merge="concat_final")
    # DGUNet keeps the names of seven stages however many it has.
    stage = 7 if config.share_middle else config.num_stages
    return _Names(
        step_size=f"r{stage - 1}",
        phi=f"phi_{stage - 1}",
        phit=f"phit_{stage - 1}",
        shallow=f"shallow_feat{stage}",
        merge=f"concat{stage - 1}{stage}" if config.share_middle else f"merge{stage - 1}{stage}",
    )


def _stage_rows(
    config: DGUNetConfig, position: str, names: _Names, index: int | None
) -> Iterator[Row]:
    """The rows of one stage, without its tail and the slopes that stages share."""

    def row(key: str, *path: str, layout: str = PLAIN) -> Row:
        return Row(key, ".".join((position, *path)), layout, index)

    def layer(key: str, *path: str, bias: bool = True, layout: str = CONV) -> Iterator[Row]:
        yield row(f"{key}.weight", *path, "kernel", layout=layout)
        if bias:
            yield row(f"{key}.bias", *path, "bias")

    yield row(names.step_size, "step_size", layout=SCALAR)
    if not config.measurements:
        for network, key in (("forward_network", names.phi), ("adjoint_network", names.phit)):
            for i, official in ((1, 0), (2, 2)):
                yield row(f"{key}.body.{official}.weight", network, f"kernel_{i}", layout=CONV)
                yield row(f"{key}.body.{official}.bias", network, f"bias_{i}")

    yield from layer(f"{names.shallow}.0", "shallow", "conv", bias=False)
    attention = ("shallow", "attention")
    for key, name in (
        ("CA.conv_du.0", "squeeze"),
        ("CA.conv_du.2", "excite"),
        ("body.0", "conv_1"),
        ("body.2", "conv_2"),
    ):
        yield from layer(f"{names.shallow}.1.{key}", *attention, name, bias=False)
    if position == "middle" and config.own_attention_slopes:
        yield row(f"{names.shallow}.1.body.1.weight", "attention_slope", layout=SCALAR)

    if names.merge:
        merge = config.last_merge if position == "last" else config.merge
        if merge == "subspace":
            yield from layer(f"{names.merge}.subnet", "merge", "basis")
            yield from layer(f"{names.merge}.conv_block", "merge", "fuse")
        else:
            yield from layer(names.merge, "merge", "fuse", bias=False)
    if position == "last":
        return

    for i in range(NUM_SCALES + 1):
        key, path = f"{names.encoder}.body.{i}", ("encoder", f"block_{i}")
        for name in ("conv_1", "conv_2", "identity"):
            yield from layer(f"{key}.{name}", *path, name)
        yield row(f"{key}.norm.weight", *path, "norm", "scale")
        yield row(f"{key}.norm.bias", *path, "norm", "bias")
        if i < NUM_SCALES:
            yield from layer(f"{key}.downsample", "encoder", f"down_{i}", bias=False)
            if position == "middle":
                for official, name in _MODULATION[config.memory]:
                    yield from layer(f"{key}.{official}", "encoder", f"memory_{i}", name)
    for j in range(NUM_SCALES):
        key, i = f"{names.decoder}.body.{j}", NUM_SCALES - 1 - j  # official ones run coarse to fine
        yield from layer(f"{key}.up", "decoder", f"up_{i}", layout=UPSAMPLE)
        for name in ("conv_1", "conv_2", "identity"):
            yield from layer(f"{key}.conv_block.{name}", "decoder", f"block_{i}", name)
        yield from layer(f"{names.decoder}.skip_conv.{j}", "decoder", f"skip_{i}")

    yield from layer(f"{names.attention}.conv1", "attention", "features", bias=False)
    yield from layer(f"{names.attention}.conv2", "attention", "image", bias=False)
    if config.attention == "gated":
        yield from layer(f"{names.attention}.conv3", "attention", "gate", bias=False)


_MODULATION = {
    "additive": (("csff_enc", "encoder"), ("csff_dec", "decoder")),
    "adaptive": (
        ("csff_enc", "encoder"),
        ("csff_dec", "decoder"),
        ("phi", "scale"),
        ("gamma", "shift"),
    ),
}


def _unused_in_sensing(config: DGUNetConfig, middle: list[_Names]) -> Iterator[Row]:
    """Three-channel operators of a one-channel network, and memory inputs of the first stage."""
    for names in middle:
        for key in (names.phi, names.phit):
            for layer, (o, i) in ((0, (64, 3)), (2, (3, 64))):
                yield Row(f"{key}.body.{layer}.weight", None, shape=(o, i, 3, 3))
                yield Row(f"{key}.body.{layer}.bias", None, shape=(o,))
    slopes = [f"{key}.body.1.weight" for s in middle for key in (s.phi, s.phit)]
    yield Row(slopes[0], None, copies=tuple(slopes[1:]), shape=(1,))
    for i in range(NUM_SCALES):
        c_in, c_out = (config.width + config.growth * scale for scale in (i, i + 1))
        for name, channels in (("csff_enc", c_out), ("csff_dec", c_in)):
            key = f"stage1_encoder.body.{i}.{name}"
            yield Row(f"{key}.weight", None, shape=(c_out, channels, 3, 3))
            yield Row(f"{key}.bias", None, shape=(c_out,))
