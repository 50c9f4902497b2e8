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

# Rules.
MAX_SEGMENTS = 100
MAX_CONDITIONS = 1000  # of one rollout, the nested ones and the allOf, anyOf, not around them too
MAX_DEPTH = 8  # of conditions in conditions
MAX_LISTED = 100_000  # values of one `in` or `cidr`
MAX_UNITS = 1_000_000  # of one rollout, in all its lists
MAX_REQUIRES = 16
MAX_CHAIN = 16  # rollouts that require one another in a row
MAX_KEYS = 16  # on the way to a value of metadata
MAX_REGEX_BYTES = 1024
REGEX_MEMORY = 1 << 20  # bytes RE2 may use for one expression
MAX_GRAINS = 100 * 10**MAX_WEIGHT_DECIMALS  # 100 %, in the finest parts a share is given in

FORCE_HEADER = "canary-force"
ATTRIBUTE = re.compile(r"[a-z][a-z0-9_.]*")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MAX_WRITTEN_DEPTH = 4  # of conditions in conditions, in a document
MAX_OVERRIDES = 64
