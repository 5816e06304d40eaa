"""
ASGI config for mysite project: the one file that a port adds.
"""

import os

from adwebsocket.asgi import get_asgi_application

os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')

application = get_asgi_application()
