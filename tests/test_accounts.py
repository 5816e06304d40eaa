"""Sockets of users who log out, are deactivated or deleted, or change their password."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import logout, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models.deletion import Collector
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.accounts import close_sockets_of, live_requests_of
from adwebsocket.asgi import ASGIApplication
from adwebsocket.live import count_live, live_requests
from tests.connections import WebSocketConversation, on_event_loop
from tests.processes import run
from tests.transport.event_loops import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from django.http import HttpRequest

CHECKOUT = Path(__file__).parent.parent
STOCK = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
PASSWORD = "a good password"
NEW_PASSWORD = "a better password"

# Views


@require_websocket
def sync_view(request: Any) -> None:
    """Wait, without a look at the user."""
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def async_view(request: Any) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket
def sync_who(request: Any) -> None:
    request.websocket.send(str(request.user))
    request.websocket.wait()


@require_websocket
async def async_who(request: Any) -> None:
    await request.websocket.send(await sync_to_async(lambda: str(request.user))())
    await request.websocket.wait()


@login_required
@require_websocket
def sync_members(request: Any) -> None:
    request.websocket.wait()


@login_required
@require_websocket
async def async_members(request: Any) -> None:
    await request.websocket.wait()


@require_websocket(accept="manual")
def sync_slow(request: Any) -> None:
    """Take the time that the test wants for the handshake."""
    gates["slow"].wait(10)
    request.websocket.accept()
    request.websocket.wait()


@require_websocket(accept="manual")
async def async_slow(request: Any) -> None:
    await asyncio.to_thread(gates["slow"].wait, 10)
    await request.websocket.accept()
    await request.websocket.wait()


@require_websocket
def sync_leave(request: Any) -> None:
    """Log out in the socket itself."""
    request.websocket.wait()
    logout(request)
    request.websocket.wait()


@require_websocket
async def async_leave(request: Any) -> None:
    await request.websocket.wait()
    await sync_to_async(logout)(request)
    await request.websocket.wait()


def page_logout(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


def page_login_again(request: HttpRequest) -> HttpResponse:
    request.session.cycle_key()
    return HttpResponse()


def page_password(request: HttpRequest) -> HttpResponse:
    user = request.user
    assert isinstance(user, User)
    user.set_password(NEW_PASSWORD)
    user.save()
    update_session_auth_hash(request, user)
    return HttpResponse()


def page_rehash(request: HttpRequest) -> HttpResponse:
    user = request.user
    assert isinstance(user, User)
    update_session_auth_hash(request, user)
    return HttpResponse()


urlpatterns = [
    path("sync/", sync_view),
    path("async/", async_view),
    path("sync/who/", sync_who),
    path("async/who/", async_who),
    path("sync/members/", sync_members),
    path("async/members/", async_members),
    path("sync/slow/", sync_slow),
    path("async/slow/", async_slow),
    path("sync/leave/", sync_leave),
    path("async/leave/", async_leave),
    path("logout/", page_logout),
    path("login-again/", page_login_again),
    path("password/", page_password),
    path("rehash/", page_rehash),
]

gates: dict[str, threading.Event] = {}
loads: list[str | None] = []
numbers = itertools.count()


def token_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[..., Any]:
    """Know users by a header, as an API does."""

    def middleware(request: HttpRequest) -> HttpResponse:
        request.user = User.objects.get(username=request.headers["X-Token"])
        return get_response(request)

    return middleware


class SessionStore(db.SessionStore):
    """Sessions in the database, with a note of each time that one is looked up there."""

    def load(self) -> dict[str, Any]:
        if self.session_key is not None:
            loads.append(self.session_key)
        return super().load()

    async def aload(self) -> dict[str, Any]:
        loads.append(self.session_key)
        return await super().aload()


class ProxyUser(User):
    """The same users as another class, which sends its own signals."""

    class Meta:
        app_label = "auth"
        proxy = True


@pytest.fixture(autouse=True)
def project(database: None) -> Iterator[None]:
    gates["slow"] = threading.Event()
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=STOCK,
        # The default one takes its time on purpose.
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        WEBSOCKET_CLOSE_ON_LOGOUT=True,
    ):
        yield
    assert count_live() == 0


@pytest.fixture
def application(project: None) -> ASGIApplication:
    return ASGIApplication()


@pytest.fixture
def anna(project: None) -> User:
    return make_user()


def make_user() -> User:
    user = User(username=f"user{next(numbers)}")
    user.set_password(PASSWORD)
    user.save()
    return user


def log_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Do what a request does in a thread of its own."""

    def call() -> Any:
        try:
            return function(*args)
        finally:
            connection.close()

    return await asyncio.to_thread(call)


class Sockets:
    """Clients of an application, each with the cookies of its browser."""

    def __init__(self, application: ASGIApplication, stack: AsyncExitStack) -> None:
        self.application = application
        self.stack = stack

    async def begin(
        self, route: str, client: Client | None = None, **headers: str
    ) -> WebSocketConversation:
        """Begin a handshake."""
        if client is not None:
            headers["Cookie"] = cookies_of(client)
        peer = WebSocketConversation(self.application, route, headers=headers)
        return await self.stack.enter_async_context(peer)

    async def open(
        self, route: str, client: Client | None = None, **headers: str
    ) -> WebSocketConversation:
        """Open a socket."""
        peer = await self.begin(route, client, **headers)
        await peer.accepted()
        return peer


def cookies_of(client: Client) -> str:
    return "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())


def with_sockets(
    test: Callable[..., Awaitable[None]],
) -> Callable[[ASGIApplication, User, str], None]:
    """Run a test of both colours on an event loop, with two users."""

    @pytest.mark.parametrize("colour", ["sync", "async"])
    def run(application: ASGIApplication, anna: User, colour: str) -> None:
        @on_event_loop
        async def main() -> None:
            async with AsyncExitStack() as stack:
                await test(Sockets(application, stack), anna, colour)

        main()

    run.__name__ = test.__name__
    return run


async def assert_open(*peers: WebSocketConversation) -> None:
    """Expect that peers are answered, whose views echo."""
    for peer in peers:
        peer.send("still there")
        assert await peer.message() == "still there"


@with_sockets
async def test_logout_closes_the_sockets_of_the_session_and_no_others(
    sockets: Sockets, anna: User, colour: str
) -> None:
    browser, phone = await in_thread(log_in, anna), await in_thread(log_in, anna)
    bob = await in_thread(lambda: log_in(make_user()))
    own = [await sockets.open(f"/{colour}/", browser) for _ in range(2)]
    blocked = await sockets.open(f"/{colour}/members/", browser)
    others = [await sockets.open(f"/{colour}/", client) for client in (phone, bob, None)]
    await in_thread(browser.get, "/logout/")
    for peer in (*own, blocked):
        assert await peer.closed() == (4401, "logged out")
    await assert_open(*others)


@with_sockets
async def test_logout_closes_what_was_opened_before_the_session_changed_its_key(
    sockets: Sockets, anna: User, colour: str
) -> None:
    browser, phone = await in_thread(log_in, anna), await in_thread(log_in, anna)
    before = await sockets.open(f"/{colour}/", browser)
    other = await sockets.open(f"/{colour}/", phone)
    await in_thread(browser.get, "/login-again/")
    await assert_open(before)
    after = await sockets.open(f"/{colour}/", browser)
    await in_thread(browser.get, "/logout/")
    for peer in (before, after):
        assert await peer.closed() == (4401, "logged out")
    await assert_open(other)


@with_sockets
async def test_logout_of_nobody_closes_nothing(sockets: Sockets, anna: User, colour: str) -> None:
    peer = await sockets.open(f"/{colour}/", await in_thread(log_in, anna))
    await in_thread(Client().get, "/logout/")
    await assert_open(peer)


@with_sockets
async def test_view_that_logs_out_is_closed_itself(
    sockets: Sockets, anna: User, colour: str
) -> None:
    peer = await sockets.open(f"/{colour}/leave/", await in_thread(log_in, anna))
    peer.send("go")
    assert await peer.closed() == (4401, "logged out")


@with_sockets
async def test_handshake_amid_a_logout_is_closed_though_its_session_is_still_there(
    sockets: Sockets, anna: User, colour: str
) -> None:
    browser = await in_thread(log_in, anna)
    # The signal alone: this is the moment before the session is deleted.
    request = RequestFactory().get("/logout/")
    request.session = await in_thread(lambda: browser.session)
    await in_thread(lambda: user_logged_out.send(User, request=request, user=anna))
    for page in ("", "members/"):
        peer = await sockets.open(f"/{colour}/{page}", browser)
        assert await peer.closed() == (4401, "logged out")


@with_sockets
async def test_logout_with_sessions_in_signed_cookies_closes_all_sockets_of_the_user(
    sockets: Sockets, anna: User, colour: str
) -> None:
    with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"):
        sockets.application = ASGIApplication()
        browser, phone = await in_thread(log_in, anna), await in_thread(log_in, anna)
        bob = await in_thread(lambda: log_in(make_user()))
        own = [await sockets.open(f"/{colour}/", client) for client in (browser, phone)]
        other = await sockets.open(f"/{colour}/", bob)
        await in_thread(browser.get, "/logout/")
        for peer in own:
            assert await peer.closed() == (4401, "logged out")
        await assert_open(other)


@with_sockets
async def test_handshake_in_progress_is_closed_as_soon_as_it_is_open(
    sockets: Sockets, anna: User, colour: str
) -> None:
    browser = await in_thread(log_in, anna)
    peer = await sockets.begin(f"/{colour}/slow/", browser)
    await until(lambda: live_requests_of(anna) != [])
    await in_thread(browser.get, "/logout/")
    gates["slow"].set()
    await peer.accepted()
    assert await peer.closed() == (4401, "logged out")


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def deactivate_alone(user: User) -> None:
    stripped = User.objects.only("is_active").get(pk=user.pk)
    stripped.is_active = False
    stripped.save(update_fields=["is_active"])


def deactivate_by_proxy(user: User) -> None:
    proxy = ProxyUser.objects.get(pk=user.pk)
    proxy.is_active = False
    proxy.save()


def delete(user: User) -> None:
    user.delete()


def delete_by_query(user: User) -> None:
    User.objects.filter(pk=user.pk).delete()


def deactivate_in_transaction(user: User) -> None:
    with transaction.atomic():
        deactivate(user)


GOODBYES = [
    deactivate,
    deactivate_alone,
    deactivate_by_proxy,
    deactivate_in_transaction,
    delete,
    delete_by_query,
]


@pytest.mark.parametrize("say_goodbye", GOODBYES)
def test_user_who_goes_loses_all_sockets(
    say_goodbye: Callable[[User], None], application: ASGIApplication, anna: User
) -> None:
    @on_event_loop
    async def main() -> None:
        async with AsyncExitStack() as stack:
            sockets = Sockets(application, stack)
            clients = [await in_thread(log_in, anna) for _ in range(2)]
            own = [
                await sockets.open(f"/{colour}/{page}", client)
                for colour in ("sync", "async")
                for page in ("", "members/")
                for client in clients
            ]
            other = await sockets.open("/sync/", await in_thread(lambda: log_in(make_user())))
            await in_thread(say_goodbye, anna)
            for peer in own:
                assert (await peer.closed())[0] == 4401
            await assert_open(other)

    main()


@with_sockets
async def test_what_is_rolled_back_closes_nothing(
    sockets: Sockets, anna: User, colour: str
) -> None:
    peer = await sockets.open(f"/{colour}/", await in_thread(log_in, anna))

    def change_ones_mind() -> None:
        with transaction.atomic():
            deactivate(anna)
            User.objects.filter(pk=anna.pk).delete()
            transaction.set_rollback(True)

    await in_thread(change_ones_mind)
    await assert_open(peer)


@with_sockets
async def test_nothing_is_closed_before_the_transaction_ends(
    sockets: Sockets, anna: User, colour: str
) -> None:
    peer = await sockets.open(f"/{colour}/", await in_thread(log_in, anna))
    loop = asyncio.get_running_loop()

    def deactivate_slowly() -> None:
        with transaction.atomic():
            deactivate(anna)
            asyncio.run_coroutine_threadsafe(assert_open(peer), loop).result(10)

    await in_thread(deactivate_slowly)
    assert (await peer.closed())[0] == 4401


@with_sockets
async def test_users_who_are_saved_as_they_were_keep_their_sockets(
    sockets: Sockets, anna: User, colour: str
) -> None:
    browser = await in_thread(log_in, anna)
    peer = await sockets.open(f"/{colour}/", browser)

    def save() -> None:
        anna.email = "anna@example.com"
        anna.save()
        anna.save(update_fields=["password", "is_active"])
        User.objects.defer("password", "is_active").get(pk=anna.pk).save()
        User.objects.only("is_active").get(pk=anna.pk).save()
        other = User.objects.get(pk=anna.pk)
        other.set_password(NEW_PASSWORD)
        other.is_active = False
        other.save(update_fields=["email"])
        # Which saves the time of it.
        log_in(anna)
        make_user().delete()

    await in_thread(save)
    await assert_open(peer)


@with_sockets
async def test_new_password_closes_all_sockets_and_the_browser_comes_back_with_its_new_session(
    sockets: Sockets, anna: User, colour: str
) -> None:
    browser, phone = await in_thread(log_in, anna), await in_thread(log_in, anna)
    own = [await sockets.open(f"/{colour}/members/", client) for client in (browser, phone)]
    other = await sockets.open(f"/{colour}/", await in_thread(lambda: log_in(make_user())))
    await in_thread(browser.get, "/password/")
    for peer in own:
        assert await peer.closed() == (4401, "the password has changed")
    await assert_open(other)
    await sockets.open(f"/{colour}/members/", browser)
    refused = await sockets.begin(f"/{colour}/members/", phone)
    assert (await refused.refused()).status == 302


@with_sockets
async def test_session_that_gets_another_key_keeps_its_sockets(
    sockets: Sockets, anna: User, colour: str
) -> None:
    browser = await in_thread(log_in, anna)
    peer = await sockets.open(f"/{colour}/", browser)
    await in_thread(browser.get, "/rehash/")
    await assert_open(peer)


@with_sockets
async def test_password_that_was_hashed_with_an_older_secret_key_is_no_other_one(
    sockets: Sockets, anna: User, colour: str
) -> None:
    browser = await in_thread(log_in, anna)
    peer = await sockets.open(f"/{colour}/", browser)
    with override_settings(SECRET_KEY="newer", SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
        await in_thread(anna.save)
    await assert_open(peer)


def test_user_known_by_a_token_loses_sockets_as_well(anna: User) -> None:
    def set_password(user: User) -> None:
        user.set_password(NEW_PASSWORD)
        user.save()

    @on_event_loop
    async def main() -> None:
        with override_settings(MIDDLEWARE=[f"{__name__}.token_middleware"]):
            application = ASGIApplication()
        for say_goodbye in (set_password, deactivate):
            async with AsyncExitStack() as stack:
                sockets = Sockets(application, stack)
                token = {"X-Token": anna.username}
                own = [await sockets.open(f"/{colour}/", **token) for colour in ("sync", "async")]
                await in_thread(anna.save)
                await assert_open(*own)
                await in_thread(say_goodbye, anna)
                for peer in own:
                    assert (await peer.closed())[0] == 4401

    main()


# From elsewhere


@with_sockets
async def test_sockets_of_a_user_are_found_and_closed_from_any_thread(
    sockets: Sockets, anna: User, colour: str
) -> None:
    browser = await in_thread(log_in, anna)
    own = [await sockets.open(f"/{colour}/{page}", browser) for page in ("", "members/")]
    other = await sockets.open(f"/{colour}/")
    assert {request.path for request in await in_thread(live_requests_of, anna)} == {
        f"/{colour}/",
        f"/{colour}/members/",
    }
    assert len(live_requests_of(anna.pk)) == 2
    assert await in_thread(close_sockets_of, anna, 4000, "bye") == 2
    for peer in own:
        assert await peer.closed() == (4000, "bye")
    await assert_open(other)


@with_sockets
async def test_nobody_has_no_sockets(sockets: Sockets, anna: User, colour: str) -> None:
    await sockets.open(f"/{colour}/")
    assert live_requests_of(None) == []
    assert live_requests_of(User()) == []


@with_sockets
async def test_without_the_setting_nothing_is_closed_and_sessions_are_not_loaded(
    sockets: Sockets, anna: User, colour: str
) -> None:
    browser = await in_thread(log_in, anna)
    with override_settings(WEBSOCKET_CLOSE_ON_LOGOUT=False):
        idle = await sockets.open(f"/{colour}/", browser)
        asking = await sockets.open(f"/{colour}/who/", browser)
        assert await asking.message() == anna.username
        assert [hasattr(each.session, "_session_cache") for each in live_requests()].count(
            True
        ) == 1
        # Whoever has looked at the user is found.
        assert [each.path for each in live_requests_of(anna)] == [f"/{colour}/who/"]
        await in_thread(browser.get, "/logout/")
        await in_thread(deactivate, anna)
        await in_thread(anna.delete)
        await assert_open(idle)


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(("page", "without"), [("", 0), ("who/", 1), ("members/", 1)])
def test_handshake_costs_no_more_than_one_query_for_its_session(
    colour: str, page: str, without: int, anna: User
) -> None:
    counts = []

    @on_event_loop
    async def main() -> None:
        browser = await in_thread(log_in, anna)
        with override_settings(SESSION_ENGINE=__name__):
            application = ASGIApplication()
        for setting in (True, False):
            loads.clear()
            with override_settings(WEBSOCKET_CLOSE_ON_LOGOUT=setting):
                async with AsyncExitStack() as stack:
                    peer = await Sockets(application, stack).open(f"/{colour}/{page}", browser)
                    if page == "who/":
                        assert await peer.message() == anna.username
                    counts.append(len(loads))

    main()
    assert counts == [1, without]


def test_visitor_without_a_session_costs_no_query() -> None:
    @on_event_loop
    async def main() -> None:
        with override_settings(SESSION_ENGINE=__name__):
            application = ASGIApplication()
        loads.clear()
        async with AsyncExitStack() as stack:
            sockets = Sockets(application, stack)
            await assert_open(*[await sockets.open(f"/{each}/") for each in ("sync", "async")])
        assert loads == []

    main()


def test_foreign_origin_costs_no_query(anna: User) -> None:
    @on_event_loop
    async def main() -> None:
        browser = await in_thread(log_in, anna)
        with override_settings(SESSION_ENGINE=__name__):
            application = ASGIApplication()
        loads.clear()
        async with AsyncExitStack() as stack:
            sockets = Sockets(application, stack)
            for colour in ("sync", "async"):
                peer = await sockets.begin(f"/{colour}/", browser, Origin="http://evil.example")
                assert (await peer.refused()).status == 403
        assert loads == []

    main()


WITHOUT_AUTH = """
import asyncio
import sys

from django.conf import settings
from django.db import models

settings.configure(
    ALLOWED_HOSTS=["testserver"], MIDDLEWARE=[], ROOT_URLCONF=__name__, SECRET_KEY="for tests",
    WEBSOCKET_CLOSE_ON_LOGOUT=True, INSTALLED_APPS=[],
)

from adwebsocket.asgi import get_asgi_application

application = get_asgi_application()

from django.db.models.signals import post_delete, post_save
from django.urls import path

from adwebsocket import require_websocket
from tests.connections import WebSocketConversation


class Thing(models.Model):
    class Meta:
        app_label = "things"


@require_websocket
def view(request):
    request.websocket.wait()


urlpatterns = [path("", view)]


async def main():
    async with WebSocketConversation(application, "/") as peer:
        await peer.accepted()
        for signal in (post_save, post_delete):
            signal.send(Thing, instance=Thing(pk=1), using="default", update_fields=None)


asyncio.run(main())
assert "django.contrib.auth.models" not in sys.modules
print("done")
"""


def test_project_without_users_is_served() -> None:
    result = run(["-c", WITHOUT_AUTH], cwd=CHECKOUT)
    assert result.stdout == "done\n"


def test_deleting_rows_of_other_models_stays_one_query() -> None:
    """With listeners for all models Django would load each row before it deletes it."""
    ASGIApplication()
    assert Collector("default").can_fast_delete(Session.objects.all())
