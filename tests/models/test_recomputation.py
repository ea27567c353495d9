import jax
import jax.numpy as jnp
import numpy as np

from dgunet_jax.models.convolution import recomputed


def function(x, weights):
    hidden = jnp.tanh(x * weights["scale"] + weights["shift"])
    return jnp.sin(hidden) @ weights["matrix"], {"square": hidden**2}


def arguments(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"scale": (1, 5), "shift": (1, 5), "matrix": (5, 3)}
    weights = {name: jnp.asarray(rng.standard_normal(s)) for name, s in shapes.items()}
    return jnp.asarray(rng.standard_normal((7, 5))), weights


def close(a, b):
    for found, expected in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


def loss(function, x, weights):
    out, more = function(x, weights)
    return jnp.sum(jnp.square(out)) + jnp.sum(more["square"])


def test_values_and_first_derivatives_are_those_of_the_function():
    x, weights = arguments()
    directions = arguments(1)
    close(recomputed(function)(x, weights), function(x, weights))
    close(*(jax.jvp(f, (x, weights), directions) for f in (recomputed(function), function)))
    # Of all arguments, of the second alone, of the first alone; compiled.
    for argnums in ((1, 2), 2, 1):
        gradient = jax.jit(jax.grad(loss, argnums=argnums), static_argnums=0)
        close(*(gradient(f, x, weights) for f in (recomputed(function), function)))


def test_nothing_but_the_arguments_is_kept():
    x, weights = arguments()
    _, pullback = jax.vjp(recomputed(function), x, weights)
    kept = sum(leaf.size for leaf in jax.tree.leaves(pullback))
    assert kept <= sum(leaf.size for leaf in jax.tree.leaves((x, weights)))


def test_it_waits_for_its_cotangent():
    # Seen from outside: all that is computed again hangs on the cotangent's first element.
    x, weights = arguments()
    _, pullback = jax.vjp(recomputed(function), x, weights)
    out, more = function(x, weights)
    _, gradient = pullback((jnp.zeros_like(out).at[0, 0].set(jnp.nan), more))
    assert jnp.isnan(gradient["matrix"]).all()
