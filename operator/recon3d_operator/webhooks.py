"""Delivers webhooks of jobs that have ended: from the status, so that a restart loses none; at least once.

status.webhook Pending -> the whole job, its Secret -> signed POST -> status.webhook Delivered | ...
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from recon3d_contract.store.addresses import allowed, is_numeric

from recon3d_operator.claims import UnusableSecretError, webhook_key
from recon3d_operator.cluster.kube import KubeCluster
from recon3d_operator.cluster.refusals import ApiError, Kind
from recon3d_operator.model import Key, key_of
from recon3d_operator.rules.webhook import after, body_of, message_id, signed_headers
from recon3d_operator.settings import Settings
from recon3d_operator.times import parse
from recon3d_operator.workqueue import WorkQueue

_LOG: Final = logging.getLogger(__name__)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15.0)
_AGAIN_S: Final = 5.0
_AT_ONCE: Final = 4


class UndeliverableError(Exception):
    """Why a message was not sent, or not answered."""


class _CheckedResolver(AbstractResolver):
    """Resolves a host, and gives out only addresses that a webhook may go to: what is checked is what is used."""

    def __init__(self, private_hosts: tuple[str, ...]) -> None:
        self._private_hosts = private_hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the host's addresses. Raises OSError where one of them is forbidden."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results: list[ResolveResult] = []
        for kind, _, proto, _, address in found:
            if not allowed(str(address[0]), private=host in self._private_hosts):
                raise OSError(None, f"{host} has an address that webhooks may not go to")
            results.append(
                {
                    "hostname": host,
                    "host": str(address[0]),
                    "port": port,
                    "family": kind,
                    "proto": proto,
                    "flags": socket.AI_NUMERICHOST,
                }
            )
        return results

    async def close(self) -> None:
        """Nothing is held."""


class Webhooks:
    """The deliveries of one operator."""

    def __init__(self, cluster: KubeCluster, settings: Settings, clock: Callable[[], float]) -> None:
        self._cluster, self._settings, self._clock = cluster, settings, clock
        self._work = WorkQueue(clock)

    def told(self, job: Mapping[str, Any]) -> None:
        """Take in a job that has ended."""
        state = (job.get("status") or {}).get("webhook") or {}
        if self._settings.webhooks and state.get("state") == "Pending":
            self._work.add_at(key_of(job), parse(state.get("nextAttemptAt")) or self._clock())

    async def run(self) -> None:
        """Deliver until cancelled."""
        resolver = _CheckedResolver(self._settings.webhook_private_hosts)
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, ssl=ssl.create_default_context())
        async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, trust_env=False) as session:
            await asyncio.gather(*(self._worker(session) for _ in range(_AT_ONCE)))

    async def _worker(self, session: aiohttp.ClientSession) -> None:
        while True:
            key = await self._work.get()
            try:
                await self._deliver(key, session)
            except ApiError as error:
                if error.kind is not Kind.GONE:
                    _LOG.info("%s/%s: webhook: %s", *key, error)
                    self._work.add_at(key, self._clock() + _AGAIN_S)
            except Exception:  # noqa: BLE001 - and it is told in full
                _LOG.exception("%s/%s: webhook failed", *key)
                self._work.add_at(key, self._clock() + _AGAIN_S)
            finally:
                self._work.done(key)

    async def _deliver(self, key: Key, session: aiohttp.ClientSession) -> None:
        job = await self._cluster.get_job(*key)
        status = dict(job.get("status") or {})
        old = status.get("webhook") or {}
        due = parse(old.get("nextAttemptAt"))
        if old.get("state") != "Pending" or (due is not None and due > self._clock() + 1.0):
            return
        answer, problem, told = await self._attempt(job, session)
        base = self._settings.webhook_base_s * random.uniform(0.8, 1.2)  # noqa: S311 - not a secret
        new = after(old, answer, problem, now=self._clock(), base_s=base, told_s=told)
        await self._cluster.write_status(job, {**status, "webhook": new})
        if new["state"] == "Pending":
            self._work.add_at(key, parse(new["nextAttemptAt"]) or self._clock())
        _LOG.info("%s/%s: webhook %s", *key, new["state"], extra={"job_uid": job["metadata"]["uid"]})

    async def _attempt(
        self, job: Mapping[str, Any], session: aiohttp.ClientSession
    ) -> tuple[int | None, str, float | None]:
        """Send the message once; return the answer's status, a problem in words, and Retry-After."""
        hook = job["spec"]["webhook"]
        try:
            secret = await webhook_key(self._cluster, job["metadata"]["namespace"], hook["secretRef"])
            self._check_literal(str(hook["url"]))
            body = body_of(job)
            headers = {"Content-Type": "application/json", "User-Agent": "recon3d-operator"}
            headers |= signed_headers(secret, message_id(job), int(self._clock()), body)
            async with session.post(hook["url"], data=body, headers=headers, allow_redirects=False) as answer:
                wait = answer.headers.get("Retry-After", "")
                return answer.status, "", float(wait) if wait.isdecimal() else None
        except (UndeliverableError, UnusableSecretError) as error:
            return None, str(error), None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # An exception's text may hold what a user must not learn of the network inside.
            forbidden = "may not go to" in str(error)
            text = "Its address is private or reserved." if forbidden else "The receiver cannot be reached."
            return None, f"{text} ({type(error).__name__})", None

    def _check_literal(self, url: str) -> None:
        """A host that is an address is never resolved, so it is checked here."""
        host = urlsplit(url).hostname or ""
        if is_numeric(host) and not allowed(host, private=host in self._settings.webhook_private_hosts):
            raise UndeliverableError("Its address is private or reserved.")
