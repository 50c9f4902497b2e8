"""Simulated model servers: one per cluster, in threads of the test, each says who it is."""

import contextlib
import http.server
import json
import threading

from sidecar.extproc.bootstrap import Upstream


class _Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cluster = ""

    def do_GET(self):
        labels = {k.lower(): v for k, v in self.headers.items() if k.lower().startswith("x-canary")}
        answer = json.dumps({"model": self.cluster, "labels": labels}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(clusters):
    """Yield where each cluster's server is."""
    with contextlib.ExitStack() as running:
        found = {}
        for cluster in clusters:
            handler = type("Server", (_Server,), {"cluster": cluster})
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            server.daemon_threads = True
            running.callback(server.server_close)
            running.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
            found[cluster] = Upstream(f"127.0.0.1:{server.server_port}")
        yield found
