"""What ``docs/deploy.md`` tells to write for systemd, Docker and Kubernetes.

nginx and the runner behind it are put to work in ``tests/servers/test_nginx.py``.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path

from adwebsocket.cli import GRACEFUL_SECONDS
from adwebsocket.cli import main as command
from adwebsocket.conf import Settings
from tests.processes import DEADLINE

from .pages import DOCS, blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGE = DOCS / "deploy.md"
# As the page has it.
LONGEST_END = Settings().drain_seconds + GRACEFUL_SECONDS + 5
INSTRUCTIONS = {"CMD", "COPY", "ENV", "EXPOSE", "FROM", "RUN", "USER", "WORKDIR"}

(UNIT,) = blocks(PAGE, "ini")
(DOCKERFILE,) = blocks(PAGE, "dockerfile")
(MANIFESTS,) = blocks(PAGE, "yaml")
DEPLOYMENT, SERVICE = yaml.safe_load_all(MANIFESTS)
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
PROBES = ["startupProbe", "readinessProbe", "livenessProbe"]


def options_of(arguments: list[str]) -> dict[str, Any]:
    """Let the command read its options, which fails for one that it does not have."""
    program, *options = arguments
    assert program.endswith("adwebsocket")
    with command.make_context("adwebsocket", options) as context:
        return context.params


def page_patterns() -> list[Any]:
    names: dict[str, Any] = {"__name__": __name__, "HttpResponse": HttpResponse, "path": path}
    (block,) = (each for each in blocks(PAGE, "python") if "urlpatterns" in each)
    exec(compile(block, PAGE.name, "exec"), names)
    return names["urlpatterns"]  # type: ignore[no-any-return]


urlpatterns = page_patterns()


class TestUnit:
    def test_runs_the_command_with_options_that_it_has(self) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(UNIT)
        assert list(parser) == ["DEFAULT", "Unit", "Service", "Install"]
        service = parser["Service"]
        options = options_of(service["ExecStart"].split())
        assert options["uds"] == f"/run/{service['RuntimeDirectory']}/socket"
        assert int(service["TimeoutStopSec"]) > LONGEST_END

    def test_is_understood_by_systemd(self, tmp_path: Path) -> None:
        program = shutil.which("systemd-analyze")
        if program is None:
            pytest.skip("needs systemd-analyze")
        # What stands for places of a machine; systemd looks whether they are there.
        text = re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", UNIT)
        text = re.sub(r"^(User|Group|WorkingDirectory)=.*\n", "", text, flags=re.MULTILINE)
        unit = tmp_path / "mysite.service"
        unit.write_text(text)
        result = subprocess.run(
            [program, "verify", "--man=no", str(unit)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        # It also says what is wrong with units of this machine.
        assert "mysite.service" not in result.stdout, result.stdout


class TestDockerfile:
    def test_has_instructions_that_there_are(self) -> None:
        words = [line.partition(" ")[0] for line in DOCKERFILE.splitlines()]
        assert words[0] == "FROM"
        assert words[-1] == "CMD"
        assert set(words) <= INSTRUCTIONS

    def test_runs_the_command_itself_at_the_port_that_it_names(self) -> None:
        arguments = json.loads(DOCKERFILE.splitlines()[-1].removeprefix("CMD "))
        (port,) = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
        assert options_of(arguments)["port"] == int(port)

    def test_does_not_run_as_root(self) -> None:
        (name,) = re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)
        assert f"useradd --system {name}\n" in DOCKERFILE

    def test_is_given_longer_to_stop_than_views_are_to_end(self) -> None:
        (seconds,) = re.findall(r"--stop-timeout (\d+)", PAGE.read_text())
        assert int(seconds) > LONGEST_END


class TestManifests:
    def test_service_finds_the_pods(self) -> None:
        labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
        assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
        assert SERVICE["spec"]["selector"] == labels

    def test_ports_are_those_of_the_command(self) -> None:
        (port,) = CONTAINER["ports"]
        assert options_of(CONTAINER["args"])["port"] == port["containerPort"]
        targets = {each["targetPort"] for each in SERVICE["spec"]["ports"]}
        targets |= {CONTAINER[probe]["httpGet"]["port"] for probe in PROBES}
        assert targets == {port["name"]}

    @pytest.mark.parametrize("probe", PROBES)
    def test_probe_is_answered(self, probe: str) -> None:
        request = CONTAINER[probe]["httpGet"]
        headers = {each["name"]: each["value"] for each in request["httpHeaders"]}
        with override_settings(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["example.com"],
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        ):
            client = Client()
            assert client.get(request["path"]).status_code == 400
            assert client.get(request["path"], headers=headers).status_code == 200

    def test_pod_is_given_longer_than_its_sleep_and_its_views_take(self) -> None:
        program, seconds = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
        assert program == "sleep"
        least = int(seconds) + LONGEST_END
        assert POD["terminationGracePeriodSeconds"] > least

    def test_command_is_that_of_the_image(self) -> None:
        assert CONTAINER["args"] == json.loads(DOCKERFILE.splitlines()[-1].removeprefix("CMD "))
