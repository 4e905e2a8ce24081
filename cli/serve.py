"""`guardrail serve`: the guarded model behind OpenAI's interface; `guardrail serve-key`: a key for a client of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from guardrail.cli import options
from guardrail.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from guardrail.policy import Policy
    from guardrail.server.service import Service
    from guardrail.server.settings import ServerSettings

EXTRA = "guardrail serve needs the extra server: pip install 'hybridgrad-guardrail[server]'"


def serve(
    model: options.Model = options.DEFAULT_MODEL,
    score_with: options.ScoreWith = None,
    policy: Annotated[
        str, typer.Option("--policy", "-p", metavar="NAME|FILE", help="The policy of requests that name none.")
    ] = "default",
    allow_policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="A policy that a request may name, too; may be repeated."),
    ] = None,
    calibrator: options.Calibrator = None,
    retriever: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE", help="Texts to search when the policy says retrieve: .txt, .md or .jsonl."),
    ] = None,
    escalate_to: options.EscalateTo = None,
    escalate_calibrator: options.EscalateCalibrator = None,
    host: Annotated[str, typer.Option(help="Any other than a loopback address needs --api-key-file.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keys of clients; `guardrail serve-key` makes them.")
    ] = None,
    allow_original: Annotated[
        bool, typer.Option("--allow-original", help="Let requests ask for what the model said, held back or not.")
    ] = False,
    allow_stream_policy: Annotated[
        list[str] | None,
        typer.Option(metavar="POLICY", help="claim or passthrough, beside answer; may be repeated."),
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="A page's origin that may ask; may be repeated.")
    ] = None,
    allow_observe: Annotated[
        bool,
        typer.Option("--allow-observe", help="Let requests have their text at once, unjudged, and the verdict later."),
    ] = False,
    webhook_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Where webhooks of late verdicts may go: https://HOST[:PORT]; may be repeated."
        ),
    ] = None,
    webhook_secret_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What webhooks are signed with: at least 16 bytes.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=256, help="Requests that work at the same time.")] = 8,
    driver: Annotated[
        Literal["guardrail", "transformers"],
        typer.Option(
            help="Whose loop the shared passes run in: guardrail, or transformers, for a GPU: each answer is then read once "
            "more to be scored.",
        ),
    ] = "guardrail",
    queue: Annotated[int, typer.Option(min=0, help="Requests that wait; the next one is answered with 429.")] = 64,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most that a request may ask for.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="For requests that name none. Default: no limit.")
    ] = None,
    chat_template: options.ChatTemplate = None,
    chat_template_kwargs: options.TemplateSwitches = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on Ray Serve that each hold the model, behind one address. Default: none."),
    ] = None,
    ray: options.Ray = None,
    worker_cpus: options.WorkerCpus = None,
    worker_gpus: options.WorkerGpus = None,
) -> None:
    """Serve a guarded model to clients of OpenAI's interface. SIGHUP reads the policies again, SIGTERM drains."""
    from guardrail.cli import runtime
    from guardrail.deadlines import check_timeout
    from guardrail.server.settings import ServerSettings, is_loopback

    check_timeout(timeout)
    if (webhook_origin or webhook_secret_file) and not (allow_observe and webhook_origin and webhook_secret_file):
        raise DataError(
            "webhooks need all three: --allow-observe, --webhook-origin ORIGIN and --webhook-secret-file FILE"
        )
    if not is_loopback(host) and api_key_file is None:
        raise DataError(
            f"--host {host} can be reached from elsewhere, and there are no keys; make one with `guardrail serve-key NAME "
            "--api-key-file FILE` and give --api-key-file FILE, or stay on 127.0.0.1"
        )
    given = {"ray": ray, "worker-cpus": worker_cpus, "worker-gpus": worker_gpus}
    if replicas is None and (option := next((name for name, value in given.items() if value is not None), None)):
        raise DataError(f"--{option} is for replicas on Ray Serve; say how many: --replicas N")
    if replicas is not None and allow_observe:
        raise DataError(
            "--allow-observe does not go with --replicas: a late verdict is kept in one process, and who asks for it may "
            "reach another; serve without --replicas, or without --allow-observe"
        )
    cluster = None if replicas is None else runtime.cluster(ray or "local", replicas, worker_cpus, worker_gpus)
    runtime.quiet_libraries()
    try:
        from guardrail.server.keys import Keys
        from guardrail.server.late_verdicts import LateVerdicts
        from guardrail.server.run import listen
        from guardrail.server.run import serve as run
        from guardrail.server.service import load_policies
        from guardrail.server.state import Server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("fastapi", "starlette", "uvicorn", "prometheus_client"):
            raise MissingExtraError(EXTRA) from error
        raise
    streams = ["answer", *(allow_stream_policy or ())]
    if unknown := [s for s in streams if s not in ("answer", "claim", "passthrough")]:
        raise DataError(f"--allow-stream-policy is {unknown[0]!r:.40}; it is claim or passthrough")
    settings = ServerSettings(
        host=host,
        keys=Keys.load(api_key_file) if api_key_file else None,
        cors_origins=tuple(cors_origin or ()),
        allow_original=allow_original,
        stream_policies=tuple(streams),
        late=LateVerdicts(webhooks=_webhooks(webhook_origin, webhook_secret_file)) if allow_observe else None,
        slots=slots,
        driver=driver,
        queue=queue,
        max_tokens=max_tokens,
        timeout=timeout,
    )
    sources = [policy, *(allow_policy or ())]
    allowed = load_policies(sources).values()  # mistakes show before the model loads
    runtime.check_escalation(
        next((each for each in allowed if each.escalates), next(iter(allowed))), escalate_to, escalate_calibrator
    )
    if retriever is not None and not retriever.exists():
        raise DataError(f"there is no file or folder {str(retriever)!r} to retrieve from")
    load = partial(
        _service,
        model=model,
        device=device,
        dtype=dtype,
        chat_template=chat_template,
        switches=chat_template_kwargs,
        score_with=score_with,
        calibrator=calibrator,
        retriever=retriever,
        escalate_to=escalate_to,
        escalate_calibrator=escalate_calibrator,
    )
    shown = f"[{host}]" if ":" in host else host

    def up(port: int) -> None:
        typer.echo(f"http://{shown}:{port}/")

    if cluster is not None:
        from guardrail.model.spec import resolve
        from guardrail.server.ray_serve import serve_replicas

        for spec in filter(None, (model, score_with, escalate_to)):
            resolve(spec)  # a misspelt one shows before anything starts
        serve_replicas(cluster, load, settings, api_key_file, sources, port, say=runtime.say, up=up)
        return
    taken = listen(host, port)
    up(taken.getsockname()[1])
    run(Server(settings), taken, partial(load, settings, sources))


def _service(
    settings: ServerSettings,
    sources: Sequence[str | Policy],
    *,
    model: str,
    device: str | None,
    dtype: str | None,
    chat_template: Path | None,
    switches: str | None,
    score_with: str | None,
    calibrator: Any,
    retriever: Path | None,
    escalate_to: str | None,
    escalate_calibrator: Any,
) -> Service:
    """The model and its guards, in whichever process serves them."""
    from guardrail.cli import runtime
    from guardrail.server.service import Service

    made: dict[str, Any] = {"calibrator": calibrator}
    local = runtime.load(model, device, dtype, chat_template, switches, score_with)
    second = None
    if escalate_to is not None:
        second = {"model": runtime.load_second(escalate_to, device, dtype), "calibrator": escalate_calibrator}
    if retriever is not None:
        from guardrail.retrieval import load_retriever

        made["retriever"] = load_retriever(retriever, progress=runtime.passage_counter())
    return Service(local, settings, sources, made, second)


def _webhooks(origins: list[str] | None, secret_file: Path | None) -> Any:
    """What delivers late verdicts; None without origins."""
    from guardrail.server.destinations import Destinations
    from guardrail.server.webhooks import Webhooks

    if not origins or secret_file is None:
        return None
    try:
        secret = secret_file.read_bytes().strip()
    except OSError as error:
        raise DataError(f"cannot read the webhooks' secret {str(secret_file)!r}: {error.strerror}") from error
    return Webhooks(Destinations(origins), secret)


def serve_key(
    name: Annotated[str, typer.Argument(help="Whose it is; stands in the log.")],
    api_key_file: Annotated[Path, typer.Option(metavar="FILE", help="Made if it is not there; holds hashes alone.")],
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Default: no limit.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Read and written. Default: no limit.")] = None,
) -> None:
    """Make a key for a client of `guardrail serve`, and print it: it is kept nowhere, only its hash is."""
    from guardrail.server.keys import add_key

    limits = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute}
    typer.echo(add_key(api_key_file, name, **limits))
