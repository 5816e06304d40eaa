"""Make the database, with the user ada, and print the key of a session of hers."""

from mysite.asgi import application

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command

assert application

call_command('migrate', verbosity=0)
user = User.objects.create_user('ada')
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = 'django.contrib.auth.backends.ModelBackend'
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session['colour'] = 'green'
session.save()
print(session.session_key)
