"""What the views write down."""

from __future__ import annotations

from django.db import models


class Note(models.Model):
    """A text that somebody has said, each of them once."""

    text = models.TextField(unique=True)
