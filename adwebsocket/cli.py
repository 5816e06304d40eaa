"""The runner: ``adwebsocket [APP]`` and ``python -m adwebsocket``, which is uvicorn with our parts.

The shell calls it, and every server process that it starts loads it again. It decides what is
served and with which defaults, and leaves the rest to ``supervising``.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from uvicorn.config import LOGGING_CONFIG
from uvicorn.main import main as uvicorn_command

from ._version import __version__
from .serving import PROTOCOL_CLASS, RunnerConfig
from .supervising import run

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT_APPLICATION = "adwebsocket.asgi:get_asgi_application"
GRACEFUL_SECONDS = 10
GRACEFUL_SECONDS_WITH_RELOAD = 1

# The options are uvicorn's own, whichever version is installed: names, types and defaults come from
# there, and an option that this table does not know appears below "Other options of uvicorn".
HELP_SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "What to serve": {
        "settings": ("MODULE", "Settings of the Django project. Default: $DJANGO_SETTINGS_MODULE."),
        "app_dir": ("DIRECTORY", "Import APP and settings from here. Default: where you are."),
        "env_file": ("FILE", "Read environment variables from this file first."),
        "factory": ("", "APP is a function that returns the application."),
        "root_path": ("PATH", "URL path below which a proxy mounts the application."),
        "lifespan": ("", "Send start-up and shutdown events to the application."),
    },
    "Where to listen": {
        "host": ("ADDRESS", "IP address or host name."),
        "port": ("PORT", "Port; 0 picks a free one."),
        "uds": ("PATH", "A UNIX domain socket instead of a port."),
        "fd": ("NUMBER", "An open socket, by its file descriptor, instead of a port."),
        "backlog": ("NUMBER", "Connections that may wait to be accepted."),
    },
    "Processes": {
        "workers": ("NUMBER", "Server processes. Default: $WEB_CONCURRENCY, or 1."),
        "timeout_worker_healthcheck": ("SECONDS", "Replace a worker that is silent for so long."),
        "limit_max_requests": ("NUMBER", "End a worker after so many requests."),
        "limit_max_requests_jitter": ("NUMBER", "Add up to so many requests to that, at random."),
        "loop": ("", "Event loop; auto takes uvloop where it is installed."),
        "http": ("", "HTTP parser; auto takes httptools where it is installed."),
        "reset_contextvars": ("", "Start every request with fresh context variables."),
    },
    "Development": {
        "reload": ("", "Restart when a Python file changes."),
        "reload_dirs": ("DIRECTORY", "Watch this directory, not the current one. Repeatable."),
        "reload_includes": ("PATTERN", "Watch these files too. Repeatable; needs watchfiles."),
        "reload_excludes": ("PATTERN", "Do not watch these. Repeatable; needs watchfiles."),
        "reload_delay": ("SECONDS", "Time between two looks at the files."),
    },
    "Limits": {
        "limit_concurrency": ("NUMBER", "Answer 503 above so many connections or tasks."),
        "timeout_keep_alive": ("SECONDS", "Close an idle HTTP connection after so long."),
        "timeout_graceful_shutdown": (
            "SECONDS",
            "At the end, when sockets have been closed, give views so long to finish. Default: "
            f"{GRACEFUL_SECONDS}, with --reload {GRACEFUL_SECONDS_WITH_RELOAD}.",
        ),
    },
    "TLS": {
        "ssl_certfile": ("FILE", "Certificate, with its chain."),
        "ssl_keyfile": ("FILE", "Private key of the certificate."),
        "ssl_keyfile_password": ("TEXT", "Password of the private key."),
        "ssl_ca_certs": ("FILE", "Certificate authorities that client certificates must have."),
        "ssl_cert_reqs": ("NUMBER", "Client certificates: 0 none, 1 optional, 2 required."),
        "ssl_ciphers": ("TEXT", "Ciphers, in OpenSSL's notation."),
        "ssl_version": ("NUMBER", "Protocol constant of Python's ssl module."),
    },
    "Proxies and headers": {
        "proxy_headers": ("", "Believe the X-Forwarded headers of trusted proxies. Default: yes."),
        "forwarded_allow_ips": (
            "LIST",
            "The trusted proxies: addresses and networks, or * for all. "
            "Default: $FORWARDED_ALLOW_IPS, or this machine.",
        ),
        "headers": ("NAME:VALUE", "Add this header to every response. Repeatable."),
        "server_header": ("", "Send the Server header. Default: yes."),
        "date_header": ("", "Send the Date header. Default: yes."),
    },
    "Logging": {
        "log_level": ("", "Least important level that is logged. Default: info."),
        "access_log": ("", "One line for every request and WebSocket. Default: yes."),
        "use_colors": ("", "Colours. Default: in a terminal."),
        "log_config": ("FILE", "Logging configuration: .ini, .json or .yaml."),
    },
}
RELOAD_LISTS = ("reload_dirs", "reload_includes", "reload_excludes")
PLAIN_DEFAULTS = {"host", "port", "backlog", "timeout_keep_alive", "timeout_worker_healthcheck"}
# A worker that is replaced takes all its connections with it. uvicorn's five seconds are too little
# for one that has twenty thousand, all of which have just been sent a message.
OWN_DEFAULTS = {"timeout_worker_healthcheck": 30}
# Our protocol class has its own limits and keepalive, and speaks ASGI 3 over HTTP/1.1 only.
DROPPED_OPTIONS = {"app", "version", "interface", "http2", "h11_max_incomplete_event_size"}


class RunnerCommand(click.Command):
    """A command whose help puts the options into sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        about = [option for option in options if option.is_eager]
        named = {option.name: option for option in options if not option.is_eager}
        for title, names in HELP_SECTIONS.items():
            section = [named.pop(name) for name in names if name in named]
            self.write_section(ctx, formatter, title, section)
        self.write_section(ctx, formatter, "Other options of uvicorn", list(named.values()))
        self.write_section(ctx, formatter, "About", about)

    @staticmethod
    def write_section(
        ctx: click.Context,
        formatter: click.HelpFormatter,
        title: str,
        options: list[click.Option],
    ) -> None:
        records = [option.get_help_record(ctx) for option in options]
        rows = [record for record in records if record is not None]
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def runner_parameters() -> list[click.Parameter]:
    """Return the parameters of our command: uvicorn's, without its WebSocket options, and ours."""
    help_texts = {name: text for names in HELP_SECTIONS.values() for name, text in names.items()}
    settings = click.Option(["--settings"], metavar="MODULE", help=help_texts["settings"][1])
    return [
        click.Argument(["app"], required=False, envvar="ADWEBSOCKET_APP"),
        settings,
        *hosted_options(help_texts),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=print_version,
            help="Show the versions and exit.",
        ),
    ]


def hosted_options(help_texts: dict[str, tuple[str, str]]) -> Iterator[click.Option]:
    for parameter in uvicorn_command.params:
        name = parameter.name or ""
        if name in DROPPED_OPTIONS or name == "ws" or name.startswith("ws_"):
            continue
        option = copy.copy(parameter)
        assert isinstance(option, click.Option)
        if name in help_texts:
            metavar, option.help = help_texts[name]
            option.metavar = metavar or option.metavar
            option.show_default = name in PLAIN_DEFAULTS
            option.default = OWN_DEFAULTS.get(name, option.default)
        yield option


def print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(
            f"adwebsocket {__version__}, uvicorn {metadata.version('uvicorn')}, "
            f"Django {metadata.version('django')}, "
            f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}"
        )
        ctx.exit()


def serve(app: str | None, settings: str | None, **options: Any) -> None:
    """Serve APP, or without APP a Django project, with WebSockets.

    \b
      adwebsocket --settings mysite.settings
      adwebsocket mysite.asgi:application --workers 4

    Every option can also be set in the environment: --log-level is ADWEBSOCKET_LOG_LEVEL.
    """
    sys.path.insert(0, options.pop("app_dir"))
    load_environment(options.pop("env_file"))
    if settings is not None:
        os.environ["DJANGO_SETTINGS_MODULE"] = settings
        require_module(settings)
    if app is None:
        app, options["factory"] = project_application(), True
    else:
        require_application(app)
    run(RunnerConfig(app, ws=PROTOCOL_CLASS, **configuration(options)))


def load_environment(env_file: str | None) -> None:
    if env_file is None:
        return
    try:
        from dotenv import load_dotenv  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise click.UsageError("--env-file needs a package: pip install python-dotenv") from None
    load_dotenv(env_file)


def project_application() -> str:
    settings = os.environ.get("DJANGO_SETTINGS_MODULE")
    if not settings:
        raise click.UsageError(
            "Nothing to serve. Name the settings of a Django project (--settings mysite.settings, "
            "or the environment variable DJANGO_SETTINGS_MODULE) or an ASGI application "
            "(mysite.asgi:application)."
        )
    require_module(settings)
    return PROJECT_APPLICATION


def require_application(app: str) -> None:
    module, _, attribute = app.partition(":")
    if not module or not attribute:
        raise click.UsageError(
            f"APP must be MODULE:ATTRIBUTE, as in mysite.asgi:application, but it is {app!r}."
        )
    require_module(module)


def require_module(name: str) -> None:
    """Raise a usage error if a module that the user named does not exist.

    It is looked for, not imported: what goes wrong inside it is the server process's to report,
    which has the traceback, and which --reload starts again once the mistake is mended.
    """
    try:
        found = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        found = error.name is None or not f"{name}.".startswith(f"{error.name}.")
    except Exception:
        found = True
    if not found:
        raise click.UsageError(
            f"There is no module {name!r} in {Path(sys.path[0]).resolve()} or elsewhere on the "
            "Python path (--app-dir names another directory)."
        )


def configuration(options: dict[str, Any]) -> dict[str, Any]:
    """Turn option values into arguments for uvicorn's ``Config``."""
    headers = [header.partition(":") for header in options["headers"]]
    for name, colon, _ in headers:
        if not colon:
            raise click.UsageError(f"--header expects NAME:VALUE, but it is {name!r}.")
    if options["timeout_graceful_shutdown"] is None:
        options["timeout_graceful_shutdown"] = (
            GRACEFUL_SECONDS_WITH_RELOAD if options["reload"] else GRACEFUL_SECONDS
        )
    return {
        **options,
        **{name: list(options[name]) or None for name in RELOAD_LISTS},
        "headers": [(name, value) for name, _, value in headers],
        "log_config": options["log_config"] or LOGGING_CONFIG,
    }


main = RunnerCommand(
    "adwebsocket",
    params=runner_parameters(),
    callback=serve,
    help=serve.__doc__,
    context_settings={"auto_envvar_prefix": "ADWEBSOCKET", "max_content_width": 100},
)
