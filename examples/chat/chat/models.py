"""What the chat remembers: every message that was said in a room."""

from django.conf import settings
from django.db import models

HISTORY_LENGTH = 50


class MessageManager(models.Manager):
    def latest_in(self, room):
        """Return the last messages of a room, oldest first."""
        newest_first = self.filter(room=room).select_related("author").order_by("-id")
        return list(newest_first[:HISTORY_LENGTH])[::-1]

    def rooms(self):
        """Return the name and the number of messages of each room, the liveliest first."""
        return (
            self.values("room")
            .annotate(messages=models.Count("id"), latest=models.Max("id"))
            .order_by("-latest")
        )


class Message(models.Model):
    MAX_LENGTH = 2000

    room = models.SlugField()
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="chat_messages"
    )
    text = models.TextField(max_length=MAX_LENGTH)
    created = models.DateTimeField(auto_now_add=True)

    objects = MessageManager()

    def __str__(self):
        return f"{self.author} in {self.room}: {self.text}"

    def as_dict(self):
        """Return what the page needs to show this message."""
        return {
            "id": self.pk,
            "author": self.author.get_username(),
            "text": self.text,
            "created": self.created.isoformat(),
        }
