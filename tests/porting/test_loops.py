"""Push loops that never end, and ends that are swallowed, beside loops that are all right."""

from __future__ import annotations

import pytest

from tests.porting import check


def in_view(loop: str) -> str:
    """Put a loop into a view; its first line comes third after the decorator."""
    body = "\n".join(f"    {line}" for line in loop.strip("\n").splitlines())
    return f"@accept_websocket\ndef view(request):\n    ws = request.websocket\n{body}\n"


@pytest.mark.parametrize(
    "condition",
    [
        "True",
        "1",
        "ws",
        "request.websocket",
        "not ws.closed",
        "request.is_websocket()",
        "request.is_websocket",
        "ws is not None and not ws.closed",
    ],
)
def test_push_loop_that_nothing_ends_is_found(condition: str) -> None:
    check(in_view(f"while {condition}:  # !push-loop\n    ws.send(now())\n    time.sleep(1)"))


@pytest.mark.parametrize("condition", ["not ws.is_closed()", "running", "not stop.is_set()", "0"])
def test_loop_with_a_condition_is_none(condition: str) -> None:
    check(in_view(f"while {condition}:\n    ws.send(now())"))


@pytest.mark.parametrize(
    "way_out",
    [
        "ws.wait()",
        "message = ws.wait(1)",
        "ws.read()",
        "if ws.is_closed(): break",
        "if done(): return",
        "if done(): raise Done",
        "if done(): break",
        "if done(): sys.exit()",
        "if ws.has_messages(): print('tell')",
        "for message in ws: print(message)",
        "keep_alive(ws)",
        "yield",
    ],
)
def test_loop_with_a_way_out_is_none(way_out: str) -> None:
    check(in_view(f"while True:\n    ws.send(now())\n    {way_out}"))


@pytest.mark.parametrize(
    "deception",
    [
        "if ws.closed: break",
        "if not ws: break",
        "if ws is None: return",
        "if not request.is_websocket(): break",
        "ws.close()",
        "for line in lines: break",
        "def later(): return",
    ],
)
def test_way_out_that_does_not_open_is_none(deception: str) -> None:
    check(in_view(f"while True:  # !push-loop\n    ws.send(now())\n    {deception}"))


def test_handler_around_a_send_is_no_way_out_for_send_raises_nothing() -> None:
    check(
        in_view("""
while True:  # !push-loop
    try:
        ws.send(json.dumps({"time": time.time()}).encode("utf-8"))
        time.sleep(1)
    except Exception:
        break
""")
    )


def test_handler_around_what_may_raise_is_a_way_out() -> None:
    check(
        in_view("""
while True:
    try:
        ws.send(jobs.get(timeout=60))
    except Empty:
        break
""")
    )


def test_loop_without_a_send_is_none() -> None:
    check(in_view("while True:\n    time.sleep(1)\n    mailer.send('x')"))


def test_inner_loop_is_found_and_the_outer_one_not_reported_again() -> None:
    check(
        in_view("""
while True:
    line = ws.wait()
    while True:  # !push-loop
        ws.send(line)
""")
    )


def test_loop_in_a_thread_is_found_where_the_socket_is_handed_to_it() -> None:
    check("""
    def push(out, seconds):
        while True:  # !push-loop
            out.send(b"tick")
            time.sleep(seconds)

    def other(out):
        while True:
            out.send(b"tick")

    @accept_websocket
    def view(request):
        Thread(target=push, args=(request.websocket, 1)).start()
        Thread(target=other, args=(queue,)).start()
    """)


@pytest.mark.parametrize(
    "call",
    [
        "push(request.websocket)",
        "push(out=request.websocket)",
        "start_new_thread(push, (request.websocket,))",
        "executor.submit(push, request.websocket)",
        "Timer(5, push, [request.websocket])",
        "Thread(target=push, kwargs=None, args=[request.websocket])",
    ],
)
def test_socket_is_followed_into_functions(call: str) -> None:
    check(f"""
    def push(out):
        while True:  # !push-loop
            out.send("tick")

    def view(request):
        {call}
    """)


def test_socket_is_followed_through_methods_attributes_and_closures() -> None:
    check("""
    class Feed(View):
        def get(self, request):
            self.out = request.websocket
            self.push(1, request.websocket)
            first, second = 1, self.out
            def inner():
                while True:  # !push-loop
                    second.send("tick")

        def push(self, seconds, target):
            while True:  # !push-loop
                target.send("tick")

        def run(self):
            while 1:  # !push-loop
                self.out.send("tick")
    """)


def test_name_in_another_function_is_another_variable() -> None:
    check("""
    def view(request):
        out = request.websocket

    def mail(out):
        while True:
            out.send("tick")
    """)


def test_broadcasts_of_a_thread_of_its_own_are_no_push_loop_of_a_view() -> None:
    check("""
    def broadcast():
        while True:
            for client in everybody():
                client.send("tick")
    """)


@pytest.mark.parametrize("kind", ["", " EOFError", " Exception", " (KeyError, EOFError)"])
@pytest.mark.parametrize("instead", ["pass", "continue", "logger.exception('again')"])
def test_swallowed_end_is_found(kind: str, instead: str) -> None:
    check(
        in_view(f"""
while True:
    try:
        message = ws.wait()
        handle(message)
    except{kind}:  # !swallowed-end
        {instead}
""")
    )


def test_swallowed_end_of_an_iteration_and_of_a_poll_is_found() -> None:
    check(
        in_view("""
while not ws.closed:
    try:
        for message in ws:
            handle(message)
    except Exception:  # !swallowed-end
        pass
while 1:
    try:
        handle(ws.read())
    except:  # !swallowed-end
        pass
""")
    )


@pytest.mark.parametrize(
    "handler",
    [
        "except Exception:\n        break",
        "except Exception:\n        return",
        "except Exception:\n        raise",
        "except Exception:\n        if ws.is_closed(): break",
        "except KeyError:\n        pass",
        "except EOFError:\n        break\n    except Exception:\n        pass",
        "finally:\n        count()",
    ],
)
def test_handler_that_leaves_the_loop_or_lets_the_end_pass_is_none(handler: str) -> None:
    check(in_view(f"while True:\n    try:\n        message = ws.wait()\n    {handler}"))


@pytest.mark.parametrize(
    "test",
    ["if not message: break", "if message is None: return", "if ws.is_closed(): break"],
)
def test_loop_that_notices_the_none_before_the_end_is_none(test: str) -> None:
    check(
        in_view(f"""
while True:
    try:
        message = ws.wait()
    except Exception:
        continue
    {test}
    handle(message)
""")
    )


def test_loop_that_ends_when_the_message_is_falsy_is_none() -> None:
    check(
        in_view("""
while True:
    try:
        message = ws.wait()
        if message:
            handle(message)
        else:
            break
    except Exception:
        pass
""")
    )


def test_application_message_as_the_only_way_out_does_not_help() -> None:
    check(
        in_view("""
while True:
    try:
        message = ws.wait()
        if message == b"quit":
            break
    except Exception:  # !swallowed-end
        pass
""")
    )


def test_handler_outside_the_loop_is_none() -> None:
    check(
        in_view("""
try:
    while True:
        ws.send(ws.wait())
except Exception:
    pass
""")
    )


def test_loop_with_a_condition_that_the_end_changes_may_swallow_it() -> None:
    check(
        in_view("""
while not ws.is_closed():
    try:
        handle(ws.wait())
    except Exception:
        pass
""")
    )
