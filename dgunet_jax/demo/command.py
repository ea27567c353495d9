"""`dgunet demo`: a server on this machine, until it is interrupted."""

import argparse
import contextlib
import errno
import os
import socket
import tempfile
from pathlib import Path

from dgunet_jax.demo.networks import read_networks
from dgunet_jax.restoration.command import parse_bytes, pictures_of_any_size
from dgunet_jax.system.compilation import use_cache
from dgunet_jax.system.errors import UserError, reason
from dgunet_jax.system.terminal import show


def run(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C; return 0.

    Everything that is uploaded and made lies in a temporary folder, which is removed in the end.

    Raises:
      UserError: a checkpoint cannot be used, or the port.
    """
    memory = parse_bytes(options.memory)
    use_cache(not options.no_cache)
    with (
        _listener(options.host, options.port) as listener,
        tempfile.TemporaryDirectory(prefix="dgunet-demo-") as folder,
        pictures_of_any_size(),
    ):
        networks = read_networks(options.checkpoint, memory)
        os.environ["GRADIO_TEMP_DIR"] = folder  # read when Gradio is imported
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from dgunet_jax.demo.page import server

        serving = server(networks, Path(folder))
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        show(f"{address} shows the page; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            serving.run(sockets=[listener])
    return 0


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
      UserError: the port is not one or in use, or the host is not one of this machine.
    """
    if not 0 <= port < 2**16:
        raise UserError(f"--port {port}: must be from 0 to {2**16 - 1}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"--port {port}: is in use; choose another, or 0 for any that is free"
            ) from error
        raise UserError(f"--host {host} --port {port}: {reason(error)}") from error
