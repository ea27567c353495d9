"""Networks as ONNX files.

A network is traced with sides 8h and 8w, and every primitive of JAX that it consists of becomes one
or a few nodes of ONNX; what depends on constants alone is computed here. ONNX has no Cholesky
factor and no triangular solve: they become steps on whole columns and rows.
"""

import functools
import math
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from jax import export
from jax.extend.core import ClosedJaxpr, Literal
from numpy.typing import NDArray
from onnx import TensorProto, helper

from dgunet_jax.models.network import DGUNet
from dgunet_jax.models.unfold import unfold

Array = jax.Array
Value = str | NDArray[Any]  # the name of what is computed, or a constant

_OPSET, _IR_VERSION = 18, 8


def to_onnx(model: DGUNet, variables: Mapping[str, Any], sides: str, stages: bool) -> bytes:
    """Return an ONNX model of a network, for one picture of any size that the network takes.

    Args:
      model, variables: the network, which computes in float32.
      sides: the shape of its input y, without the first axis, in terms of h and w.
      stages: whether every estimate is given.

    Returns:
      The content of a file. The model's input is y, (1, *sides), its output is x, (1, H, W, C), or
      (K, 1, H, W, C) with `stages`.
    """
    y = jax.ShapeDtypeStruct(export.symbolic_shape(f"1, {sides}"), np.float32)
    traced = jax.make_jaxpr(_restoring(model, variables, stages))(y)
    graph = _Graph("y", y.shape)
    graph.add("Identity", *_steps(graph, traced, ["y"]), made="x")
    given, made = (
        helper.make_tensor_value_info(
            name,
            TensorProto.FLOAT,
            [side if isinstance(side, int) else str(side) for side in shape],
        )
        for name, shape in (("y", y.shape), ("x", traced.out_avals[0].shape))
    )
    constants = [onnx.numpy_helper.from_array(*named) for named in graph.constants.values()]
    whole = helper.make_graph(graph.nodes, "dgunet", [given], [made], constants)
    opset = helper.make_opsetid("", _OPSET)
    content = helper.make_model(whole, opset_imports=[opset], ir_version=_IR_VERSION)
    onnx.checker.check_model(content)
    return content.SerializeToString()


def run_onnx(content: bytes, y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what ONNX Runtime computes on the CPU."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"y": y})[0])


def _restoring(
    model: DGUNet, variables: Mapping[str, Any], stages: bool
) -> Callable[[Array], Array]:
    """Return the network as a loop over its stages, with weights that are constants."""
    constants = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), dict(variables))
    unfolded, measured = unfold(model, constants), bool(model.config.measurements)

    def restore(y: Array) -> Array:
        started: Any = model.apply(constants, y, None, measured, method="start")
        x, y, _ = started
        memory, estimates = None, []
        for stage in unfolded.stages:
            x, memory = stage.proximal(stage.gradient(x, y), memory, y)
            estimates.append(x[None])
        return jnp.concatenate(estimates) if stages else x

    return restore


class _Graph:
    """The nodes and constants of an ONNX model as they are added.

    Args:
      name: of the input.
      shape: its shape; two sides are a number times h and w.

    Attributes:
      nodes: in the order of computation.
      constants: with their names, by what they are.
    """

    def __init__(self, name: str, shape: Sequence[Any]):
        self.nodes: list[Any] = []
        self.constants: dict[Any, tuple[NDArray[Any], str]] = {}
        self._sizes: dict[str, Value] = {}
        sizes = self.add("Shape", name)
        for axis, side in enumerate(shape):
            if not isinstance(side, int):
                number, letter = _factors(side)
                size = self.add("Slice", sizes, np.array([axis]), np.array([axis + 1]))
                self._sizes[letter[0]] = self.add("Div", size, np.array([number]))

    def add(self, kind: str, *inputs: Value, made: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its result, `made` if that is given."""
        names = [*map(self._name, inputs)]
        made = made or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [made], name=made, **attributes))
        return made

    def transpose(self, value: Value, order: Sequence[int]) -> Value:
        """Return a value with its axes in another order."""
        if not isinstance(value, str):
            return value.transpose(order)
        return value if list(order) == sorted(order) else self.add("Transpose", value, perm=order)

    def sizes(self, shape: Sequence[Any]) -> Value:
        """Return a shape as a vector; what is not known of it are products such as 8*h."""
        if _known(shape):
            return np.array(shape)
        return self.add("Concat", *map(self._size, shape), axis=0)

    def _size(self, size: Any) -> Value:
        text = str(size)
        if text not in self._sizes:
            number, letters = _factors(size)
            made: Value = np.array([number])
            for letter in letters:
                made = self.add("Mul", made, self._sizes[letter])
            self._sizes[text] = made
        return self._sizes[text]

    def _name(self, value: Value) -> str:
        if isinstance(value, str):
            return value
        array = np.ascontiguousarray(value).reshape(value.shape)
        key = array.dtype.str, array.shape, array.tobytes()
        return self.constants.setdefault(key, (array, f"constant_{len(self.constants)}"))[1]


def _factors(size: Any) -> tuple[int, list[str]]:
    """Return the number and the letters of a side, such as 8 and h of 8*h."""
    factors = str(size).split("*")
    numbers = [int(each) for each in factors if each.isdecimal()]
    return math.prod(numbers), [each for each in factors if not each.isdecimal()]


def _steps(graph: _Graph, traced: ClosedJaxpr, arguments: Sequence[Value]) -> list[Value]:
    """Add what a traced function does, and return its results."""
    jaxpr = traced.jaxpr
    values: dict[Any, Value] = {}
    values.update(zip(jaxpr.constvars, map(np.asarray, traced.consts), strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def value(of: Any) -> Value:
        if not isinstance(of, Literal):
            return values[of]
        aval: Any = of.aval
        return np.asarray(of.val, aval.dtype)

    for step in jaxpr.eqns:
        results = _results(graph, step, [value(of) for of in step.invars])
        values.update(zip(step.outvars, results, strict=True))
    return [value(of) for of in jaxpr.outvars]


def _results(graph: _Graph, step: Any, given: list[Value]) -> list[Value]:
    """Add one step and return its results."""
    name, params = step.primitive.name, step.params
    if name == "jit" and params["name"] == "leaky_relu":
        return [graph.add("LeakyRelu", given[0], alpha=float(given[1]))]
    if name == "custom_linear_solve":  # the function that solves
        of, lengths = params["jaxprs"].solve, params["const_lengths"]
        before = lengths.matvec + lengths.vecmat
        constants = given[before : before + lengths.solve]
        return _steps(graph, of, [*constants, *given[sum(lengths) :]])
    if name in _CALLS:
        return _steps(graph, params[_CALLS[name]], given)
    if name in _REPLACED:
        taken = [jax.ShapeDtypeStruct(of.aval.shape, of.aval.dtype) for of in step.invars]
        traced = jax.make_jaxpr(functools.partial(_REPLACED[name], **params))(*taken)
        return _steps(graph, traced, given)
    constant = not any(isinstance(each, str) for each in given)
    if constant and name != "dim_as_value" and _known(step.outvars[0].aval.shape):
        return [np.asarray(step.primitive.bind(*given, **params))]
    if name in _SAME:
        return [graph.add(_SAME[name], *given)]
    return [_NODES[name](graph, step, *given)]


def _known(shape: Sequence[Any]) -> bool:
    return all(isinstance(size, int) for size in shape)


def _broadcast(graph: _Graph, step: Any, x: Value) -> Value:
    """Operations of ONNX broadcast by themselves: what is as large as a picture is left to them."""
    shape, kept = step.params["shape"], step.params["broadcast_dimensions"]
    new = [axis for axis in range(len(shape)) if axis not in kept]
    before = step.invars[0].aval.shape
    if not isinstance(x, str):
        x = np.expand_dims(x, new)
    elif new:
        x = graph.add("Unsqueeze", x, np.array(new))
    of_pictures = not _known(shape) and shape[0] == 1
    same = all(shape[axis] == 1 for axis in new) and [shape[axis] for axis in kept] == [*before]
    return x if of_pictures or same else graph.add("Expand", x, graph.sizes(shape))


def _convolution(graph: _Graph, step: Any, x: Value, kernel: Value) -> Value:
    params, order = step.params, step.params["dimension_numbers"]
    made = graph.add(
        "Conv",
        graph.transpose(x, order.lhs_spec),
        graph.transpose(kernel, order.rhs_spec),
        strides=params["window_strides"],
        pads=[pad for pads in zip(*params["padding"], strict=True) for pad in pads],
    )
    return graph.transpose(made, np.argsort(order.out_spec).tolist())


def _product(graph: _Graph, step: Any, a: Value, b: Value) -> Value:
    """A product with a matrix from the right, or an Einstein sum."""
    (summed, batch), (rank, other) = (
        step.params["dimension_numbers"],
        (len(of.aval.shape) for of in step.invars),
    )
    if (summed, batch, other) == (((rank - 1,), (0,)), ((), ()), 2):
        return graph.add("MatMul", a, b)
    left, right = list(string.ascii_lowercase[:rank]), list(string.ascii_uppercase[:other])
    for axes in (summed, batch):
        for axis, same in zip(*axes, strict=True):
            right[same] = left[axis]
    shared = [left[axis] for axis in batch[0]]
    free = [each for each in left + right if (each in left) != (each in right)]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(shared + free)}"
    return graph.add("Einsum", a, b, equation=equation)


def _slice(graph: _Graph, step: Any, x: Value) -> Value:
    """A slice along the axes of which it leaves something out."""
    start, limit = (np.array(step.params[f"{which}_indices"]) for which in ("start", "limit"))
    shape = step.invars[0].aval.shape
    axes = [axis for axis, side in enumerate(shape) if (start[axis], limit[axis]) != (0, side)]
    return graph.add(
        "Slice", x, *(each[axes].astype(int) for each in (start, limit)), np.array(axes)
    )


def _gather(graph: _Graph, step: Any, x: Value, start: Any) -> Value:
    """A slice, as JAX traces it where other sides are not known."""
    axes = step.params["dimension_numbers"].start_index_map
    start = start.astype(int)
    limit = start + [step.params["slice_sizes"][axis] for axis in axes]
    return graph.add("Slice", x, start, limit, np.array(axes))


def _cholesky(matrix: Array, **_: Any) -> Array:
    """Return the lower factor of (N, B, B), column by column."""
    size, columns = matrix.shape[-1], []
    for k in range(size):
        column = matrix[:, :, k : k + 1] / jnp.sqrt(matrix[:, k : k + 1, k : k + 1])
        columns.append(column * (np.arange(size, dtype=np.float32)[None, :, None] >= k))
        matrix = matrix - column * column.swapaxes(1, 2)
    return jnp.concatenate(columns, 2)


def _triangular_solve(factor: Array, right: Array, *, transpose_a: bool, **_: Any) -> Array:
    """Return L⁻¹ R or L⁻ᵀ R, row by row; L (N, B, B), R (N, B, C)."""
    if transpose_a:
        factor = factor.swapaxes(1, 2)
    order = range(factor.shape[-1])
    rows: dict[int, Array] = {}
    for k in reversed(order) if transpose_a else order:
        rows[k] = right[:, k : k + 1] / factor[:, k : k + 1, k : k + 1]
        right = right - factor[:, :, k : k + 1] * rows[k]
    return jnp.concatenate([rows[k] for k in order], 1)


_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr"}
"""Primitives that are functions, and where these are."""

_REPLACED: dict[str, Callable[..., Array]] = {
    "cholesky": _cholesky,
    "triangular_solve": _triangular_solve,
}

_SAME = {
    "add": "Add",
    "add_any": "Add",
    "div": "Div",
    "ge": "GreaterOrEqual",
    "logistic": "Sigmoid",
    "max": "Max",
    "mul": "Mul",
    "sqrt": "Sqrt",
    "stop_gradient": "Identity",
    "sub": "Sub",
}
"""Primitives that are an operation of ONNX."""

_NODES: dict[str, Callable[..., Value]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda graph, step, *parts: graph.add(
        "Concat", *parts, axis=step.params["dimension"]
    ),
    "conv_general_dilated": _convolution,
    "convert_element_type": lambda graph, step, x: graph.add(
        "Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(step.params["new_dtype"]))
    ),
    "dim_as_value": lambda graph, step: graph.add(
        "Squeeze", graph.sizes([step.params["dim"]]), np.array([0])
    ),
    "dot_general": _product,
    "gather": _gather,
    "reduce_sum": lambda graph, step, x: graph.add(
        "ReduceSum", x, np.array(step.params["axes"]), keepdims=0
    ),
    "reshape": lambda graph, step, x: graph.add(
        "Reshape", x, graph.sizes(step.params["new_sizes"])
    ),
    "rsqrt": lambda graph, step, x: graph.add("Reciprocal", graph.add("Sqrt", x)),
    "select_n": lambda graph, step, which, no, yes: graph.add("Where", which, yes, no),
    "slice": _slice,
    "square": lambda graph, step, x: graph.add("Mul", x, x),
    "squeeze": lambda graph, step, x: graph.add("Squeeze", x, np.array(step.params["dimensions"])),
    "transpose": lambda graph, step, x: graph.transpose(x, step.params["permutation"]),
}
"""Primitives that are something else, by the function that adds it."""
