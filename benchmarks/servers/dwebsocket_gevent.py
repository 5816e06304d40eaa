"""The original dwebsocket as its users ran it: a sync echo view on gevent, with everything patched.

The catalogue runs it as a module in the environment of the original, so it must stay readable for
Python 3.8 and Django 2.2.
"""

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402

from django.conf import settings  # noqa: E402

settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="benchmark", MIDDLEWARE=[]
)

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from dwebsocket.decorators import require_websocket  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402


@require_websocket
def echo(request):  # type: ignore[no-untyped-def]
    for message in request.websocket:
        if message is None:
            break
        request.websocket.send(message)


urlpatterns = [path("", echo)]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    options, _ = parser.parse_known_args()
    application = get_wsgi_application()
    # It answers the end of each view with a page, to a socket that is closed by then.
    server = WSGIServer((options.host, options.port), application, log=None, error_log=None)
    server.serve_forever()
