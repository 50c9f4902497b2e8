"""What a name may look like, and how much of anything there may be.

One place for the document, the routes made from it and whoever reads a file for either, so that
a rollout that validates always becomes a valid route. Every pattern is the whole text
(`fullmatch`) in the lower case that the data path compares with.
"""

import re

MAX_VARIANTS = 64
MAX_SOURCES = 16
MAX_HOSTS = 1000
MAX_HOST_BYTES = 253
MAX_TEXT_BYTES = 1024
MAX_WEIGHT = 10**9
MAX_WEIGHT_DECIMALS = 9
# Of one file. Whoever reads files may stop one byte later: larger is refused unread.
MAX_FILE_BYTES = 4 * 1024 * 1024

RESERVED_PREFIX = "x-canary-"
SHADOW_PREFIX = "shadow-"

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
HEADER_NAME = re.compile(r":?[a-z0-9!#$%&'*+.^_`|~-]+")
HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
PATH_PREFIX = re.compile(r"(/[^/?#\x00-\x20\x7f]+)*")
CLUSTER = re.compile(r"[\x21-\x7e]+")
