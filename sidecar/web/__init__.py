"""The controller over HTTP: the API people and pipelines call, and the webhooks it calls itself.

Knows launches (`delivery`) and nothing of how they are kept or sent on: the application hands in
what it may read and do. Nothing here holds up a launch; a webhook has a deadline, always.
"""

from sidecar.web.api import Access, application
from sidecar.web.notifying import Notifier
from sidecar.web.serving import Server
from sidecar.web.webhooks import Webhooks

__all__ = ["Access", "Notifier", "Server", "Webhooks", "application"]
