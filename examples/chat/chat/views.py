"""The pages of the chat: ordinary Django views, plain HTTP."""

from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.views import RedirectURLMixin
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django.views.generic import FormView

from .models import Message


def home(request):
    """Show the rooms in which something was said, the latest first."""
    rooms = [room for room in Message.objects.rooms()[:12] if room["room"] != "lobby"]
    return render(request, "chat/home.html", {"rooms": rooms})


def open_room(request):
    """Lead to the room with the name that a visitor typed."""
    name = slugify(request.GET.get("name", ""))[: Message._meta.get_field("room").max_length]
    return redirect("room", slug=name or "lobby")


@login_required
def room(request, slug):
    """Show one room; its messages come through the socket."""
    return render(request, "chat/room.html", {"slug": slug, "max_length": Message.MAX_LENGTH})


class SignUp(RedirectURLMixin, FormView):
    """Make an account and log in with it, so that a visitor can talk at once."""

    form_class = UserCreationForm
    template_name = "registration/sign_up.html"
    next_page = "home"

    def get_context_data(self, **context):
        return super().get_context_data(**context, next=self.get_redirect_url())

    def form_valid(self, form):
        login(self.request, form.save())
        return super().form_valid(form)
