"""
How it was served before: gevent, with everything patched.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402

os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')

from django.core.wsgi import get_wsgi_application  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402

WSGIServer(('127.0.0.1', int(sys.argv[1])), get_wsgi_application(), log=None).serve_forever()
