"""`recon3d-api`: serve (what it does without a word), sweep, new-key."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import datetime as dt
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import anyio
import uvicorn
from recon3d_contract.environment import SettingsError
from recon3d_contract.errors import Recon3dError
from recon3d_contract.store import open_housekeeping, open_store

from recon3d_api import logs
from recon3d_api.app import create_app
from recon3d_api.auth.keys import KeysError, new_key
from recon3d_api.cluster.kube import KubeCluster, load_configuration
from recon3d_api.cluster.port import ClusterError
from recon3d_api.settings import Settings
from recon3d_api.sweep import Swept, sweep

_LOG: Final = logging.getLogger(__name__)
DONE, FAILED, WRONG_SETTINGS = 0, 1, 2
_GRACE_S: Final = 10


async def _serve(settings: Settings) -> None:
    async with KubeCluster(await load_configuration(), settings) as cluster:
        config = uvicorn.Config(
            create_app(settings, cluster),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_GRACE_S,
            h11_max_incomplete_event_size=32 * 1024,
        )
        await uvicorn.Server(config).serve()


async def _sweep(settings: Settings) -> Swept:
    configuration = await load_configuration()
    namespaces = settings.sweep_namespaces or (settings.jobs_namespace,)
    async with AsyncExitStack() as stack:
        clusters = [
            await stack.enter_async_context(
                KubeCluster(configuration, dataclasses.replace(settings, namespace=namespace))
            )
            for namespace in namespaces
        ]
        store, housekeeping = open_store(settings.store), open_housekeeping(settings.store)
        return await sweep(clusters, store, housekeeping, settings, dt.datetime.now(dt.timezone.utc))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recon3d-api", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve the API; settings are RECON3D_* variables")
    commands.add_parser("sweep", help="remove from the store what no job needs, once")
    key = commands.add_parser("new-key", help="make an API key and its line for the keys file")
    key.add_argument("principal")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 done, 1 failed, 2 wrong settings."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "new-key":
            key, line = new_key(options.principal)
            sys.stdout.write(f"key (shown once): {key}\nline for the keys file: {line}\n")
            return DONE
        logs.configure()
        settings = Settings.from_env(os.environ)
        if options.command == "sweep":
            swept = asyncio.run(_sweep(settings))
            sys.stdout.write(json.dumps(dataclasses.asdict(swept)) + "\n")
            return DONE
        anyio.run(_serve, settings, backend_options={"use_uvloop": True})
    except (SettingsError, KeysError) as error:
        sys.stderr.write(f"recon3d-api: wrong settings\n{error}\n")
        return WRONG_SETTINGS
    except (Recon3dError, ClusterError, OSError) as error:
        sys.stderr.write(f"recon3d-api: {error}\n")
        return FAILED
    return DONE


if __name__ == "__main__":
    sys.exit(main())
