"""Transactions, comparisons, what reaches into a socket, and old settings: found, or left alone."""

from __future__ import annotations

import pytest

from adwebsocket.porting.inspection import inspect_python
from tests.porting import IMPORT, check


def test_wait_in_a_transaction_is_found() -> None:
    check("""
    @accept_websocket
    def view(request):
        with transaction.atomic():  # !transaction
            order = Order.objects.select_for_update().get()
            request.websocket.wait()
        with lock, atomic(using="other"):  # !transaction
            for message in request.websocket:
                pass

    @transaction.atomic  # !transaction
    @accept_websocket
    def whole(request):
        request.websocket.wait(5)

    class Feed(View):
        @method_decorator(transaction.atomic)  # !transaction
        def get(self, request):
            return [message for message in request.websocket]
    """)


def test_transaction_without_a_wait_is_none() -> None:
    check("""
    @accept_websocket
    def view(request):
        for message in request.websocket:
            with transaction.atomic():
                Order.objects.create(text=message)
                request.websocket.send("stored")
        with open("log"):
            request.websocket.wait()

    @transaction.atomic
    def store(request):
        def later():
            request.websocket.wait()
    """)


def test_advice_names_the_line_that_waits() -> None:
    code = (
        "def view(request):\n    with atomic():\n        save()\n        request.websocket.wait()\n"
    )
    (finding,) = inspect_python("views.py", code).findings
    assert finding.advice.startswith("line 4 waits for the client")


def test_comparison_of_a_message_with_str_is_found() -> None:
    check("""
    @accept_websocket
    def view(request):
        message = request.websocket.wait()
        if message == "exit":  # !str-comparison
            return
        if "exit" != message:  # !str-comparison
            pass
        while message != "exit":  # !str-comparison
            message = request.websocket.wait()
        if request.websocket.read() == "x" or message.strip() in ("a", "b"):  # !str-comparison
            pass
        for text in request.websocket:
            text = text.strip()
            if text == u"quit":  # !str-comparison
                break
        if (late := request.websocket.wait()) == f"{message}":  # !str-comparison
            pass
    """)


def test_comparison_with_bytes_or_of_decoded_text_is_none() -> None:
    check("""
    @accept_websocket
    def view(request):
        message = request.websocket.wait()
        if message == b"exit" or message is None or message in (b"a", b"b"):
            return
        if message.decode() == "exit" or str(message, "utf-8") == "exit":
            return
        message = message.decode("utf-8")
        if message == "exit":
            return
        for text in request.websocket:
            text = text.decode()
            if text == "exit":
                return
        data = json.loads(request.websocket.wait())
        if data["type"] == "exit" or request.path == "/exit":
            return
        if message in known or kind == "exit":
            return

    def other(message):
        return message == "exit"
    """)


def test_close_with_arguments_is_found() -> None:
    check("""
    def view(request):
        request.websocket.close(1000)  # !close-arguments
        request.websocket.close(reason="bye")  # !close-arguments
        request.websocket.close()
        connection.close(1000)
    """)


def test_reaching_for_what_is_not_there_is_found() -> None:
    check("""
    import dwebsocket.websocket

    def view(request):
        ws = request.websocket
        ws.protocol.sock.settimeout(5)  # !protocol
        ws.protocol.write(b"x")  # !protocol
        ws.sock.settimeout(5)  # !protocol
        handle(ws.protocol)  # !protocol
        select([ws.protocol.sock, ws.protocol.sock.fileno()], [], [], 1)
        ws.protocol.close() or ws.protocol.is_closed()
        dwebsocket.websocket.protocol
        request.protocol
    """)


def test_wsgi_environment_is_found() -> None:
    check("""
    class Feed(View):
        def get(self, request):
            address = request.environ["REMOTE_ADDR"]  # !environ
            return self.request.environ.get("wsgi.websocket")  # !environ

    home = os.environ["HOME"] or request.META["REMOTE_ADDR"]
    """)


@pytest.mark.parametrize(
    "code",
    [
        "from gevent import monkey\nmonkey.patch_all()  # !monkey-patching",
        "import gevent.monkey\ngevent.monkey.patch_socket()  # !monkey-patching",
        "from gevent.monkey import patch_all as patch\npatch()  # !monkey-patching",
        "import eventlet\neventlet.monkey_patch()  # !monkey-patching",
        "from gevent import sleep\nsleep(1)",
        "monkey.patch_all()",
    ],
)
def test_monkey_patching_is_found_in_any_file(code: str) -> None:
    check(code, head="")


@pytest.mark.parametrize(
    "code",
    [
        'WEBSOCKET_FACTORY_CLASS = "dwebsocket.backends.uwsgi..."  # !factory-setting',
        "class Base:\n    MIDDLEWARE_CLASSES = ()  # !middleware-classes",
        "MIDDLEWARE_CLASSES += ['mysite.M']  # !middleware-classes",
        "MIDDLEWARE = ['dwebsocket.middleware.WebSocketMiddleware']",
        "print(settings.MIDDLEWARE_CLASSES, MIDDLEWARE_CLASSES)",
        "WEBSOCKET_ACCEPT_ALL = True",
    ],
)
def test_settings_without_effect_are_found(code: str) -> None:
    check(code, head="")


def test_views_that_are_native_already_are_left_alone() -> None:
    check(
        """
        clients = []  # !registry

        @require_websocket
        def native(request):
            while True:
                request.websocket.send("tick")

        @method_decorator(require_websocket, name="dispatch")
        class Native(View):
            def dispatch(self, request):
                if request.websocket.wait() == "exit":
                    request.websocket.close(1000)

        @legacy
        def old(request):
            clients.append(request.websocket)
            while True:  # !push-loop
                request.websocket.send("tick")
        """,
        head="from adwebsocket import require_websocket\n"
        "from dwebsocket import require_websocket as legacy\n",
    )


@pytest.mark.parametrize("head", ["from adwebsocket import require_websocket\n", ""])
def test_file_that_has_nothing_to_do_with_dwebsocket_is_left_alone(head: str) -> None:
    check("def view(ws):\n    while True:\n        ws.send('tick')\n", head=head)


def test_helper_without_an_import_counts_by_what_it_uses() -> None:
    check(
        "def push(request):\n    while True:  # !push-loop\n        request.websocket.send('tick')",
        head="",
    )


def test_innocent_view_as_documented_is_left_alone() -> None:
    check(f"""
    {IMPORT.strip()}
    @require_websocket
    def echo_once(request):
        message = request.websocket.wait()
        request.websocket.send(message)

    @accept_websocket
    def lower_case(request):
        if not request.is_websocket():
            return HttpResponse(request.GET["message"].lower())
        for message in request.websocket:
            request.websocket.send(message.lower())

    @accept_websocket
    def poll(request):
        while True:
            message = request.websocket.read()
            if message is None and request.websocket.is_closed():
                break
            request.websocket.send(message or b"")
    """)
