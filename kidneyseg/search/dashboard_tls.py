"""cheroot as a server with TLS. Needs cheroot, the extra `kidneyseg[tls]`."""

import logging
import ssl
from socket import socket

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

from kidneyseg.search.dashboard_guard import WSGIApp
from kidneyseg.search.dashboard_server import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    N_THREADS,
    TIMEOUT_SECONDS,
)

N_TLS_THREADS = 4 * N_THREADS  # a client that is slow to greet holds one, for the timeout
GREETING_SECONDS = TIMEOUT_SECONDS // 3

log = logging.getLogger(__name__)


def build_tls_server(app: WSGIApp, where: tuple[str, int], context: ssl.SSLContext) -> Server:
    """A server that listens on host and port, and does not serve yet. Raises OSError."""
    server = _Server(
        where,
        app,
        numthreads=N_TLS_THREADS,
        server_name="kidneyseg",
        timeout=GREETING_SECONDS,
        request_queue_size=N_TLS_THREADS,
    )
    server.max_request_header_size = MAX_HEADER_BYTES
    server.max_request_body_size = MAX_BODY_BYTES
    server.ssl_adapter = _Adapter(context)
    server.prepare()
    return server


class _Adapter(BuiltinSSLAdapter):
    """TLS whose handshake is a worker thread's business.

    cheroot's own adapter shakes hands in the one thread that accepts connections: a client that
    says nothing then stops the whole server (cheroot's issue 748). Here the first read does it.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def wrap(self, sock: socket) -> tuple[socket, dict[str, str]]:
        wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}  # of a cipher nothing yet


class _Server(Server):
    """cheroot, whose complaints about port scanners go to our log."""

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        log.debug("level %d: %s", level, msg, exc_info=traceback)
