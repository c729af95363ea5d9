"""The Dockerfile and docker-compose.yml without an engine: the same steps and commands, in a folder of this machine.

`COPY` copies, `RUN` runs, `ENV` sets; only the account of the image and what needs another root folder is left out. The
services then run with the commands of the compose file, on the test's PostgreSQL.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from regimes_dagster.commands.config import scrypt_text

ROOT = Path(__file__).resolve().parents[2]
#: Makes the account and the folder of the image; there is no image here.
LEFT_OUT = "useradd"


def instructions() -> Iterator[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    for line in filter(None, map(str.strip, lines.splitlines())):
        word, _, rest = line.partition(" ")
        yield word, rest.strip()


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def copy(sources: list[str], target: Path) -> None:
    for source in sources:
        place = ROOT / source
        if place.is_dir():
            shutil.copytree(place, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(place, target)


def test_everything_that_is_copied_exists_and_is_not_ignored() -> None:
    ignored = set((ROOT / ".dockerignore").read_text(encoding="utf-8").split())
    for word, rest in instructions():
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source not in ignored, source


def test_no_service_is_open_to_others_without_a_log_in() -> None:
    for name, service in compose()["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)
    assert compose()["services"]["dashboard"]["environment"]["REGIMES_DASHBOARD__AUTH"] == "basic"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_image_builds_and_its_services_answer(tmp_path: Path, empty_database_url: str) -> None:
    app = tmp_path / "app"
    app.mkdir()
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    environment |= {
        name: value for name, value in os.environ.items() if name.lower().startswith(("pip_", "ssl", "http"))
    }
    for word, rest in instructions():
        rest = rest.replace("/app", str(app))
        if word == "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                environment[name] = value.replace("$PATH", environment["PATH"])
        elif word == "COPY":
            *sources, target = rest.split()
            copy(sources, (app / target).resolve())
        elif word == "RUN" and LEFT_OUT not in rest:
            command = re.sub(r"^python ", f"{shlex.quote(sys.executable)} ", rest)
            subprocess.run(command, shell=True, cwd=app, env=environment, check=True, timeout=1500)
    environment |= {
        "REGIMES_HOME": str(tmp_path / "data"),
        "DB_URL": empty_database_url,
        "REGIMES_DASHBOARD__USER": "me",
        "REGIMES_DASHBOARD__PASSWORD_HASH": scrypt_text("secret", "00" * 16),
    }
    services = compose()["services"]
    ports = {"3000": str(free_port()), "8050": str(free_port())}
    started = []
    try:
        for name in ("daemon", "web", "dashboard"):
            command = [ports.get(part, part) for part in services[name]["command"]]
            extra = {key: value for key, value in services[name].get("environment", {}).items() if key.endswith("AUTH")}
            started.append(subprocess.Popen(command, cwd=app, env={**environment, **extra}, start_new_session=True))
        answers(f"http://127.0.0.1:{ports['3000']}/server_info", 200)
        answers(f"http://127.0.0.1:{ports['8050']}/healthz", 200)
        answers(f"http://127.0.0.1:{ports['8050']}/api/features", 401)
        page = httpx.get(f"http://127.0.0.1:{ports['8050']}/", auth=("me", "secret"), trust_env=False, timeout=30)
        assert page.status_code == 200
        assert all(process.poll() is None for process in started)
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=60)


def answers(url: str, status: int) -> None:
    deadline = time.monotonic() + 180
    found: object = None
    while time.monotonic() < deadline:
        try:
            found = httpx.get(url, trust_env=False, timeout=10).status_code
        except httpx.HTTPError as error:
            found = error
        if found == status:
            return
        time.sleep(0.5)
    pytest.fail(f"{url} answered {found}, not {status}")
