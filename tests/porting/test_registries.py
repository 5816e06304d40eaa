"""Collections of sockets that belong to a module or a class, beside those that do not."""

from __future__ import annotations

import pytest

from adwebsocket.porting.inspection import inspect_python
from tests.porting import IMPORT, check


@pytest.mark.parametrize(
    ("make", "fill"),
    [
        ("[]", "clients.append(request.websocket)"),
        ("set()", "clients.add(ws)"),
        ("{}", "clients[name] = ws"),
        ("{}", "clients[ws] = name"),
        ("defaultdict(list)", "clients[name].append(ws)"),
        ("{}", "clients.setdefault(name, []).append(ws)"),
        ("{}", "clients.setdefault(name, ws)"),
        ("{}", "clients.update({name: ws})"),
        ("[]", "clients.append({'socket': ws, 'user': name})"),
        ("[]", "clients.append((name, ws))"),
        ("[]", "clients.append(Client(name, ws))"),
        ("[]", "clients += [ws]"),
        ("{}", "members = clients.setdefault(name, []); members.append(ws)"),
        ("{}", "members = clients[name]; members[ws] = 1"),
        ("{}", "clients[name][1] = ws"),
    ],
)
def test_registry_of_a_module_is_found_where_it_is_made(make: str, fill: str) -> None:
    check(f"""
    clients = {make}  # !registry

    @accept_websocket
    def view(request, name):
        global clients
        ws = request.websocket
        {fill}
        clients.pop()
    """)


@pytest.mark.parametrize(
    "fill",
    [
        "clients.append(ws.wait())",
        "clients.append(request.user)",
        "clients.append(str(ws))",
        "clients[name] = ws.read()",
        "local = []; local.append(ws)",
        "clients = []; clients.append(ws)",
        "local = local or other; local.append(ws)",
        "members = make(clients); members.append(ws)",
        "ws.send('x')",
    ],
)
def test_list_of_something_else_or_of_the_view_alone_is_none(fill: str) -> None:
    check(f"""
    clients = []

    @accept_websocket
    def view(request, name):
        ws = request.websocket
        {fill}
    """)


def test_registry_of_a_class_is_found() -> None:
    check("""
    class Hub:
        clients = []  # !registry

        def join(self, ws):
            self.clients.append(ws)

    class Room:
        def __init__(self):
            self.members = []

        def join(self, ws):
            self.members.append(ws)
    """)


def test_registry_of_another_module_is_found_where_it_is_filled() -> None:
    check("""
    from chat.registry import clients
    from chat import registry

    @accept_websocket
    def view(request):
        clients.append(request.websocket)  # !registry
        registry.rooms["a"] = request.websocket  # !registry
    """)


def test_registry_is_reported_once() -> None:
    check("""
    clients = {}  # !registry

    def first(request):
        clients[1] = request.websocket

    def second(request):
        clients[2] = request.websocket
    """)


@pytest.mark.parametrize(
    ("cleaning", "is_clean"),
    [
        ("clients.remove(request.websocket)", True),
        ("clients[:] = [one for one in clients if one]", True),
        ("del clients[0]", True),
        ("clients.count(1)", False),
        ("other.remove(request.websocket)", False),
    ],
)
def test_advice_says_where_nothing_takes_a_socket_out_again(cleaning: str, is_clean: bool) -> None:
    code = f"{IMPORT}clients = []\ndef view(request):\n    clients.append(request.websocket)\n"
    (finding,) = inspect_python("views.py", f"{code}    {cleaning}\n").findings
    assert ("nothing takes a socket out again" in finding.advice) is not is_clean
