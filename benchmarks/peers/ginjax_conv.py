"""Worker for ginjax (Gregory et al. 2023, arXiv:2305.12585): a layer of geometric convolutions, timed by calls; without gnet.

The settings come as JSON in the first argument; then every line with a number N on standard input is answered by the processor
seconds of one forward and backward pass on N x N pixels. The first line out has the versions and the number of weights.
"""

import importlib.metadata
import json
import sys
import time

import equinox as eqx
import ginjax.geometric as geom
import jax
import jax.numpy as jnp
from ginjax.layers import ConvContract


def types(channels: dict[str, int]) -> geom.Signature:
    """Orders and channels, all of parity +, as ginjax writes them."""
    return geom.Signature(tuple((((False,) * int(k), 0), n) for k, n in channels.items()))


def main() -> None:
    """Make the layer, then answer."""
    given = json.loads(sys.argv[1])
    d, M, channels, batch = given["d"], given["M"], given["channels"], given["batch"]
    orders = sorted({int(k) + int(j) for k in channels for j in channels})
    filters = geom.get_invariant_filters([M], orders, [0], d, geom.make_all_operators(d))
    layer = ConvContract(types(channels), types(channels), filters, use_bias=False, padding="TORUS", key=jax.random.PRNGKey(0))

    @eqx.filter_jit
    def passes(layer: ConvContract, data: dict[tuple[tuple[bool, ...], int], jax.Array]) -> object:
        def loss(both: tuple[ConvContract, dict[tuple[tuple[bool, ...], int], jax.Array]]) -> jax.Array:
            net, items = both
            out = jax.vmap(lambda item: dict(net(geom.MultiImage(item, d, True)).items()))(items)
            return sum(jnp.sum(block**2) for block in out.values())

        return eqx.filter_grad(loss)((layer, data))

    weights = sum(leaf.size for leaf in jax.tree_util.tree_leaves(layer.weights))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ginjax", "jax"))
    print(json.dumps({"versions": versions, "weights": weights}), flush=True)
    drawn = {}
    for line in sys.stdin:
        N = int(line)
        if N not in drawn:
            key = jax.random.PRNGKey(N)
            drawn[N] = {
                ((False,) * int(k), 0): jax.random.normal(key, (batch, n, *[N] * d, *[d] * int(k))) for k, n in channels.items()
            }
            jax.block_until_ready(jax.tree_util.tree_leaves(passes(layer, drawn[N])))  # compiles
        start = time.process_time()
        jax.block_until_ready(jax.tree_util.tree_leaves(passes(layer, drawn[N])))
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
