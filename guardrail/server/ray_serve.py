"""The server as an application of Ray Serve: replicas of the whole process, a proxy before them. Needs `ray[serve]`.

Each replica has its own model, slots, limits of keys and metrics; nothing is shared. Policies reach all of them as text, in
Serve's `user_config`, so that every machine has the same, and a replica that is started later has them, too.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from guardrail.errors import ClusterError, GuardrailError, MissingExtraError
from guardrail.policy import Policy
from guardrail.runs.cluster import LOCAL, Cluster
from guardrail.runs.ray_workers import connect
from guardrail.server.app import create_app
from guardrail.server.heaps import share_heaps
from guardrail.server.keys import Keys
from guardrail.server.log import LOG, log_line
from guardrail.server.run import KEEP_ALIVE, listen, log_to_stderr
from guardrail.server.service import Service, load_policies
from guardrail.server.settings import ServerSettings
from guardrail.server.state import Server

if TYPE_CHECKING:
    from fastapi import FastAPI

Load = Callable[[ServerSettings, Sequence[Policy]], Service]
"""Makes a service; it must be one that Ray can send."""

APPLICATION = "guardrail"
CHECKED_WITHIN = 60.0
"""Seconds within which a replica says whether it can take policies."""

_VERSION = (
    "1"  # of the code, which is what Serve compares: with the same one, new policies reach replicas where they are
)
_BEYOND = 16  # requests beside those that work and wait, so that the replica itself refuses what is too many

_app: FastAPI | None = None  # this replica's; one a process


class Replica:
    """One copy of the server, in a process of its own.

    Args:
        load: Makes its model and guards.
        settings: What the operator allows; without keys, which hold locks.
        api_key_file: Where the keys are read from.
    """

    def __init__(self, load: Load, settings: ServerSettings, api_key_file: Path | None) -> None:
        global _app
        self._open_until_the_end = ExitStack()
        share_heaps()
        log_to_stderr()
        keys = None if api_key_file is None else Keys.load(api_key_file)
        self._load = load
        self._server = Server(replace(settings, keys=keys))
        _app = create_app(self._server)

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Take policies, all or nothing. The first ones come with the model, and raise what is wrong with them."""
        policies, service = policies_in(config), self._server.service
        if service is None:
            self._server.service = await asyncio.to_thread(self._loaded, policies)
            self._server.status = "ready"
            LOG.info(log_line(status="ready"))
            return
        await asyncio.to_thread(service.reload, policies)
        LOG.info(log_line(policies="read again"))

    async def fault_of(self, config: dict[str, Any]) -> str | None:
        """What is wrong with policies, in words, with this model and calibrator; nothing changes."""
        service = self._server.ready()
        try:
            await asyncio.to_thread(service.read, policies_in(config))
        except GuardrailError as error:
            return str(error)
        return None

    def check_health(self) -> None:
        """Serve asks this every few seconds, and starts another replica in place of one that raises."""
        if (state := self._server.state) == "failed":
            raise RuntimeError(f"this replica's server is {state}")

    def __del__(self) -> None:
        self._open_until_the_end.close()

    def _loaded(self, policies: Sequence[Policy]) -> Service:
        settings = self._server.settings
        service = self._load(settings, policies)
        shared = service.model.shared(settings.slots, self._server.metrics.timing, settings.driver)
        self._open_until_the_end.enter_context(shared)
        return service


def _own_app() -> FastAPI:
    if _app is None:
        raise RuntimeError("the routes were asked for before the replica was made")
    return _app


def application(
    cluster: Cluster, load: Load, settings: ServerSettings, api_key_file: Path | None, policies: Sequence[Policy]
) -> Any:
    """The application, for `serve.run`. cluster: `workers` is the number of replicas.

    Raises `MissingExtraError` without Ray Serve.
    """
    serve = _ray_serve()
    deployment = serve.deployment(serve.ingress(_own_app)(Replica)).options(
        name="Replica",
        num_replicas=cluster.workers,
        max_ongoing_requests=settings.slots + settings.queue + _BEYOND,
        ray_actor_options={"num_cpus": cluster.cpus, "num_gpus": cluster.gpus},
        user_config=config_of(policies),
        max_constructor_retry_count=cluster.workers,  # a model that does not load does not load the next time
        health_check_period_s=5.0,
        graceful_shutdown_timeout_s=120.0,  # what is admitted ends; generation is no matter of seconds
        logging_config={"enable_access_log": False},  # the server writes its own, without what is asked
        version=_VERSION,
        _internal=True,  # public, but told to go: nothing else says that the code is the same
    )
    return deployment.bind(load, replace(settings, keys=None), api_key_file)


def serve_replicas(
    cluster: Cluster,
    load: Load,
    settings: ServerSettings,
    api_key_file: Path | None,
    sources: Sequence[str],
    port: int,
    *,
    say: Callable[[str], None],
    up: Callable[[int], None],
) -> None:
    """Serve with replicas until SIGTERM or Ctrl-C; SIGHUP reads the policies again, all or nothing on all replicas.

    Args:
        cluster: Where, and how many.
        load: Makes the service in each replica.
        settings: What the operator allows.
        api_key_file: Where each replica reads the keys.
        sources: Policies by name or file; read here alone.
        port: Of the proxy; 0 takes a free one.
        say: Told what goes on.
        up: Told the port once all replicas answer.

    Raises:
        ClusterError: The replicas do not come up, or Serve runs there already.
        DataError: The address is taken.
        MissingExtraError: Ray Serve is not installed.
    """
    serve = _ray_serve()
    taken = listen(settings.host, port)  # a mistake shows before anything starts; Serve would try in the background
    port = taken.getsockname()[1]
    taken.close()
    signals: SimpleQueue[int] = SimpleQueue()
    signal.signal(signal.SIGHUP, lambda number, _: signals.put(number))

    def make(policies: Sequence[Policy]) -> Any:
        return application(cluster, load, settings, api_key_file, policies)

    connect(cluster, say)
    if serve.status().proxies:  # it would keep its own address, which may be reached from elsewhere
        raise ClusterError(
            f"Ray Serve runs at {cluster.address} already, and keeps the address that it has; end it with `serve shutdown`"
        )
    log_to_stderr()
    try:
        serve.start(http_options={"host": settings.host, "port": port, "keep_alive_timeout_s": KEEP_ALIVE})
        say(f"loading the model in {cluster.workers} replicas")
        handle = _run(make(list(load_policies(sources).values())))
        for number in (signal.SIGTERM, signal.SIGINT):  # until here they end it at once
            signal.signal(number, lambda number, _: signals.put(number))
        up(port)
        while signals.get() == signal.SIGHUP:
            _reread(handle, make, sources)
        LOG.info(log_line(status="draining"))
    finally:
        if cluster.address != LOCAL:
            serve.delete(APPLICATION)
        if cluster.address == LOCAL or not serve.status().applications:  # others may serve there by now
            serve.shutdown()


def _run(app: Any) -> Any:
    serve = _ray_serve()
    try:
        return serve.run(app, name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        known = serve.status().applications.get(APPLICATION)
        told = [] if known is None else [deployment.message for deployment in known.deployments.values()]
        # a traceback, whose last line is what the replica raised
        lines = [line.strip() for line in (*str(error).splitlines(), *"\n".join(told).splitlines()) if line.strip()]
        raise ClusterError(f"the replicas did not come up: {lines[-1][:400]}") from error


def _reread(handle: Any, make: Callable[[Sequence[Policy]], Any], sources: Sequence[str]) -> None:
    """Hand the policies on to all replicas, if they can be read here and a replica can take them."""
    try:
        policies = list(load_policies(sources).values())
        fault = handle.fault_of.remote(config_of(policies)).result(timeout_s=CHECKED_WITHIN)
        if fault is None:
            _run(make(policies))
            LOG.info(log_line(policies="read again"))
            return
        LOG.error(log_line(policies="stay as they were", message=fault))
    except GuardrailError as error:
        LOG.error(log_line(policies="stay as they were", error=type(error).__name__, message=str(error)))
    except Exception as error:
        LOG.error(log_line(policies="stay as they were", error=type(error).__name__))


def config_of(policies: Sequence[Policy]) -> dict[str, Any]:
    """Serve's `user_config`: each policy as text, and what it is called in messages."""
    return {"policies": [{"source": policy.source, "text": policy.text} for policy in policies]}


def policies_in(config: dict[str, Any]) -> list[Policy]:
    """The policies in a `user_config`, the default first. Raises `PolicyError`."""
    return [Policy.from_text(one["text"], one["source"]) for one in config["policies"]]


def _ray_serve() -> Any:
    try:
        from ray import serve
    except ImportError as error:
        raise MissingExtraError(
            f"replicas need Ray Serve ({error.name} is missing); run: pip install 'hybridgrad-guardrail[ray,server]'"
        ) from error
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    return serve
