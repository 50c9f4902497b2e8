"""What the mesh tests ask of a running Envoy, and who must answer: the oracle's word."""

import contextlib
import http.client

from bench.lab import oracle
from bench.lab.load import user
from bench.lab.process import wait_until

USERS = [user(number) for number in range(150)]
SPOOFS = [
    {"x-canary-chat-model": "canary"},
    {"X-Canary-Chat-Model": "canary"},
    {"x-canary-anything": "canary", "x-canary-": "canary"},
]
UNDERSCORES = {"x_canary_chat-model": "canary"}


class Client:
    """Asks one stack's Envoy for one host."""

    def __init__(self, stack, host):
        self.stack = stack
        self._host = host

    def status(self, host=None, **headers):
        """The status, and who answered."""
        connection = http.client.HTTPConnection(self.stack.envoy.address, timeout=10)
        with contextlib.closing(connection):
            connection.putrequest("GET", "/v1/chat", skip_host=True)
            for name, value in {"host": host or self._host, **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers["x-answered-by"]

    def ask(self, who, host=None, **headers):
        """Who answers somebody."""
        status, by = self.status(host, **{"x-user-id": who, **headers})
        assert status == 200
        return by

    def everybody(self):
        """Who answers whom."""
        return {who: self.ask(who) for who in USERS}

    def weights(self, percent):
        """Set the canary's weight and wait until it is in force."""
        self.stack.canary("weights", "chat-model", f"canary={percent}")
        asked, opposite = expected(percent), expected(100 - percent)
        one = next(who for who in USERS if asked[who] != opposite[who])
        wait_until(f"{percent} %", lambda: self.ask(one) == asked[one])


def expected(percent):
    """Who must answer whom."""
    cohort = oracle.cohort("chat-model", USERS, oracle.share(percent, 100))
    return {who: "canary" if who in cohort else "stable" for who in USERS}
