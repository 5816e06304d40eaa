"""All of the chat that runs on the server: its pages, its models and its sockets."""

# ruff: noqa: PT009 (under Django's test runner only assertEqual and its kin show what differs)

from datetime import datetime

from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import SimpleTestCase, TestCase
from django.urls import reverse

from adwebsocket import groups
from adwebsocket.testing import WebSocketClient

from . import sockets
from .models import HISTORY_LENGTH, Message


def make_user(name):
    return get_user_model().objects.create_user(name, password="a good password")


class MessageTest(TestCase):
    def setUp(self):
        self.author = make_user("ada")

    def say(self, text, room="lobby"):
        return Message.objects.create(room=room, author=self.author, text=text)

    def test_history_is_the_latest_messages_of_one_room_oldest_first(self):
        for number in range(HISTORY_LENGTH + 5):
            self.say(str(number))
        self.say("not here", room="elsewhere")
        texts = [message.text for message in Message.objects.latest_in("lobby")]
        self.assertEqual(texts, [str(number) for number in range(5, HISTORY_LENGTH + 5)])

    def test_history_with_its_authors_is_one_query(self):
        self.say("one")
        self.say("two")
        with self.assertNumQueries(1):
            [message.as_dict() for message in Message.objects.latest_in("lobby")]

    def test_a_message_as_dict_has_what_the_page_shows(self):
        shown = self.say("<b>hello</b>").as_dict()
        moment = datetime.fromisoformat(shown.pop("created"))
        self.assertIsNotNone(moment.tzinfo)
        self.assertEqual(
            shown, {"id": Message.objects.get().pk, "author": "ada", "text": "<b>hello</b>"}
        )

    def test_rooms_come_with_their_number_of_messages_the_liveliest_first(self):
        self.say("one", room="old")
        self.say("two", room="new")
        self.say("three", room="new")
        rooms = [(room["room"], room["messages"]) for room in Message.objects.rooms()]
        self.assertEqual(rooms, [("new", 2), ("old", 1)])

    def test_the_migrations_are_complete(self):
        call_command("makemigrations", "--check", "--dry-run", verbosity=0)


class PagesTest(TestCase):
    def test_home_shows_the_lobby_and_every_other_room_once(self):
        author = make_user("ada")
        for room in ("lobby", "garden"):
            Message.objects.create(room=room, author=author, text="hello")
        page = self.client.get(reverse("home"))
        self.assertContains(page, reverse("room", args=["lobby"]), count=1)
        self.assertContains(page, reverse("room", args=["garden"]), count=1)

    def test_a_typed_name_leads_to_its_room(self):
        response = self.client.get(reverse("open_room"), {"name": " The Garden! "})
        self.assertRedirects(
            response, reverse("room", args=["the-garden"]), fetch_redirect_response=False
        )

    def test_a_name_without_letters_leads_to_the_lobby(self):
        response = self.client.get(reverse("open_room"), {"name": "!?"})
        self.assertRedirects(
            response, reverse("room", args=["lobby"]), fetch_redirect_response=False
        )

    def test_a_room_asks_a_stranger_to_log_in(self):
        address = reverse("room", args=["lobby"])
        self.assertRedirects(self.client.get(address), f"{reverse('login')}?next={address}")

    def test_a_room_tells_its_page_where_the_socket_is(self):
        self.client.force_login(make_user("ada"))
        page = self.client.get(reverse("room", args=["lobby"]))
        self.assertContains(page, f'data-socket="{reverse("room_socket", args=["lobby"])}"')
        self.assertContains(page, 'data-me="ada"')

    def test_a_name_that_is_too_long_is_no_room(self):
        self.client.force_login(make_user("ada"))
        self.assertEqual(self.client.get(f"/room/{'x' * 51}/").status_code, 404)

    def test_what_a_page_loads_is_there(self):
        for name in ("chat.css", "icon.svg", "socket.js", "room.js", "ticker.js", "lower_case.js"):
            with self.subTest(name=name):
                self.assertIsNotNone(finders.find(f"chat/{name}"))


ACCOUNT = {
    "username": "grace",
    "password1": "a good password",
    "password2": "a good password",
}


class AccountTest(TestCase):
    def test_signing_up_logs_in_and_leads_back_to_the_room(self):
        room = reverse("room", args=["lobby"])
        page = self.client.get(reverse("sign_up"), {"next": room})
        self.assertContains(page, f'<input type="hidden" name="next" value="{room}">')
        response = self.client.post(reverse("sign_up"), {**ACCOUNT, "next": room})
        self.assertRedirects(response, room)
        self.assertContains(self.client.get(room), "grace")

    def test_signing_up_never_leads_to_a_foreign_site(self):
        foreign = {**ACCOUNT, "next": "https://evil.example/"}
        self.assertRedirects(self.client.post(reverse("sign_up"), foreign), reverse("home"))

    def test_signing_up_explains_what_is_wrong(self):
        page = self.client.post(reverse("sign_up"), {**ACCOUNT, "password2": "another one"})
        self.assertEqual(page.status_code, 200)
        self.assertTrue(page.context["form"].errors["password2"])

    def test_logging_in_and_out(self):
        make_user("ada")
        room = reverse("room", args=["lobby"])
        self.client.post(
            f"{reverse('login')}?next={room}", {"username": "ada", "password": "a good password"}
        )
        self.assertEqual(self.client.get(room).status_code, 200)
        self.assertRedirects(self.client.post(reverse("logout")), reverse("home"))
        self.assertEqual(self.client.get(room).status_code, 302)


class LowerCaseTest(SimpleTestCase):
    client_class = WebSocketClient

    def test_http_gets_the_message_in_lower_case(self):
        response = self.client.get(reverse("lower_case"), {"message": "ÄPFEL and <b>PEARS</b>"})
        self.assertEqual(response.content.decode(), "äpfel and <b>pears</b>")
        self.assertEqual(response["Content-Type"], "text/plain; charset=utf-8")

    def test_a_socket_gets_every_message_in_lower_case(self):
        with self.client.websocket(reverse("lower_case")) as ws:
            for message in ("ÄPFEL", "PEARS"):
                ws.send(message)
                self.assertEqual(ws.receive(), message.lower())


class RoomTest(TestCase):
    def enter(self, name, room="lobby"):
        """Let somebody enter a room until the end of the test; give their socket."""
        user, _ = get_user_model().objects.get_or_create(username=name)
        client = WebSocketClient()
        client.force_login(user)
        ws = self.enterContext(client.websocket(reverse("room_socket", args=[room])))
        self.assertEqual(ws.receive_json()["type"], "history")
        return ws

    def test_a_stranger_is_sent_to_the_log_in(self):
        address = reverse("room_socket", args=["lobby"])
        with WebSocketClient().websocket(address) as ws:
            self.assertRedirects(
                ws.response, f"{reverse('login')}?next={address}", fetch_redirect_response=False
            )

    def test_a_page_of_another_site_is_refused(self):
        client = WebSocketClient(headers={"Origin": "https://evil.example"})
        client.force_login(make_user("ada"))
        with client.websocket(reverse("room_socket", args=["lobby"])) as ws:
            self.assertEqual(ws.response.status_code, 403)

    def test_everybody_in_a_room_hears_what_is_said_and_it_is_kept(self):
        ada, grace = self.enter("ada"), self.enter("grace")
        ada.send("  hello  ")
        for ws in (ada, grace):
            message = ws.receive_json()["message"]
            self.assertEqual((message["author"], message["text"]), ("ada", "hello"))
        self.assertEqual(Message.objects.get().text, "hello")

    def test_who_enters_gets_what_was_said_before(self):
        Message.objects.create(room="lobby", author=make_user("grace"), text="first")
        client = WebSocketClient()
        client.force_login(make_user("ada"))
        with client.websocket(reverse("room_socket", args=["lobby"])) as ws:
            texts = [message["text"] for message in ws.receive_json()["messages"]]
        self.assertEqual(texts, ["first"])

    def test_a_message_stays_in_its_room(self):
        elsewhere, ada = self.enter("grace", room="garden"), self.enter("ada")
        ada.send("hello")
        ada.settle()
        elsewhere.assert_nothing_received()

    def test_blank_messages_are_no_messages_and_long_ones_are_cut(self):
        ada = self.enter("ada")
        ada.send("   ")
        ada.send("x" * (Message.MAX_LENGTH + 1))
        self.assertEqual(ada.receive_json()["message"]["text"], "x" * Message.MAX_LENGTH)
        ada.assert_nothing_received()

    def test_a_binary_message_ends_the_connection(self):
        ada = self.enter("ada")
        ada.send(b"hello")
        ada.assert_closed(1003, "This room takes text messages only.")

    def test_a_lost_member_costs_nobody_a_message(self):
        first, lost, last = self.enter("ada"), self.enter("bob"), self.enter("grace")
        lost.drop()
        first.send("hello")
        for ws in (first, last):
            self.assertEqual(ws.receive_json()["message"]["text"], "hello")

    def test_news_from_outside_of_the_sockets_come_too(self):
        ada = self.enter("ada")
        groups.send(sockets.group_of("lobby"), "news")
        self.assertEqual(ada.receive(), "news")

    def test_who_has_two_pages_open_is_one_person(self):
        for name, room in (("ada", "lobby"), ("ada", "garden"), ("grace", "garden")):
            self.enter(name, room)
        with WebSocketClient().websocket(reverse("room_ticker", args=["lobby"])) as ws:
            told = ws.receive_json()
        self.assertEqual((told["online"], told["here"]), (2, ["ada"]))

    def test_who_leaves_is_gone(self):
        ada = self.enter("ada")
        self.assertEqual(groups.members(sockets.group_of("lobby")), ["ada"])
        ada.close()
        self.doCleanups()
        self.assertEqual(groups.count(sockets.group_of("lobby")), 0)


class TickerTest(SimpleTestCase):
    client_class = WebSocketClient

    def test_the_ticker_tells_time_and_people(self):
        with self.client.websocket(reverse("ticker")) as ws:
            told = ws.receive_json()
        self.assertIsNotNone(datetime.fromisoformat(told["time"]).tzinfo)
        self.assertEqual((told["online"], told["here"]), (0, []))
