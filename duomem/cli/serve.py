"""`duomem serve`: a compiled student as an OpenAI-compatible server, and as an agent for any program.

Runs on the device: no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.options import PACK, check_bundle_digest, check_context, expect_bundle_option, play_options
from duomem.cli.values import COUNT, BundleFolder

if TYPE_CHECKING:
    from duomem.device.agent.evaluate import PlayConfig


@click.command(short_help="Serve a bundle over HTTP.")
@click.argument("bundle", type=BundleFolder())
@click.option(
    "--pack", type=PACK, metavar="FILE", show_default="no memories", help="Memory pack that /v1/act plays with."
)
@expect_bundle_option
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", help="Address to listen on. Any but loopback needs a token."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", default=8000, help="Port to listen on, 0 for a free one."
)
@click.option(
    "--token-env",
    metavar="NAME",
    show_default="DUOMEM_SERVE_TOKEN, if it is set",
    help="Environment variable that holds the token clients have to send as their API key.",
)
@click.option(
    "--queue", type=COUNT, default=128, metavar="N", help="Most requests that wait. More are told to try later."
)
@click.option(
    "--keep", type=click.IntRange(min=0), default=4, metavar="N", help="Most prompts kept, for others that begin alike."
)
@click.option("--episodes", type=COUNT, default=4, metavar="N", help="Most episodes of /v1/act at once.")
@click.option("--idle", type=COUNT, default=600, metavar="SECONDS", help="An episode without a call for so long ends.")
@click.option(
    "--grace", type=COUNT, default=30, metavar="SECONDS", help="Time for requests to end when the server stops."
)
@play_options
def serve(
    bundle: Path,
    pack: Path | None,
    expect: str | None,
    host: str,
    port: int,
    token_env: str | None,
    queue: int,
    keep: int,
    episodes: int,
    idle: int,
    grace: int,
    play: PlayConfig,
) -> None:
    """Serve the student in BUNDLE over HTTP until Ctrl-C or SIGTERM: OpenAI's completions, and the agent at /v1/act."""
    from duomem.device.serve.access import read_token
    from duomem.device.serve.server import ServeConfig, serve

    check_bundle_digest(bundle, expect)
    check_context(bundle, play.context_length)
    config = ServeConfig(
        bundle, pack, play, host, port, read_token(token_env), queue, keep, episodes, float(idle), float(grace)
    )
    serve(config, click.echo)
