"""The addresses of the chat. A socket's address is an ordinary one, with a name to reverse."""

from django.urls import path, re_path

from . import sockets, views

# As long as the field in which the name is stored.
ROOM = r"(?P<slug>[-a-zA-Z0-9_]{1,50})"

urlpatterns = [
    path("", views.home, name="home"),
    path("open/", views.open_room, name="open_room"),
    path("accounts/sign-up/", views.SignUp.as_view(), name="sign_up"),
    re_path(rf"^room/{ROOM}/$", views.room, name="room"),
    re_path(rf"^ws/room/{ROOM}/$", sockets.room, name="room_socket"),
    path("ws/ticker/", sockets.ticker, name="ticker"),
    re_path(rf"^ws/ticker/{ROOM}/$", sockets.ticker, name="room_ticker"),
    path("lower-case/", sockets.lower_case, name="lower_case"),
]
