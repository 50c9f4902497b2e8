"""deploy/examples/launches as they stand, in a real Envoy: who got which model, and who did not.

One Envoy and one `canary up` carry all of them. Claims come from tokens that Envoy's jwt_authn
verified with a key made here. The twin says who must be where; what each launch promises in words
is asserted beside it.
"""

import base64
import hashlib
import hmac
import http.client
import json
import secrets
import time

import pytest
import yaml
from e2e import model_servers

from bench.lab import oracle
from bench.lab.stack import ROOT, Plan, Stack
from sidecar import rollout
from sidecar.extproc.bootstrap import clusters_of
from sidecar.extproc.fitting import misfits
from sidecar.routing import force, route_of, twin

EXAMPLES = ROOT / "deploy" / "examples"
LAUNCHES = EXAMPLES / "launches"
JWT = "envoy.filters.http.jwt_authn"
KEY = secrets.token_bytes(32)
QA = force.Key("qa", secrets.token_hex(16).encode())
USERS = [f"user-{number}" for number in range(60)]


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(claims, key=KEY):
    """A JSON Web Token (RFC 7519) signed by HS256."""
    whole = {"iss": "https://login.example.com", "exp": int(time.time()) + 600, **claims}
    parts = [base64url(json.dumps(one).encode()) for one in ({"alg": "HS256", "kid": "k"}, whole)]
    signature = hmac.new(key, ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, base64url(signature)])


def filters():
    """The example's filters, with the key set of this test."""
    made = yaml.safe_load((EXAMPLES / "jwt_authn.yaml").read_text())
    keys = [{"kty": "oct", "alg": "HS256", "kid": "k", "k": base64url(KEY)}]
    login = made[0]["typed_config"]["providers"]["login"]
    login["local_jwks"] = {"inline_string": json.dumps({"keys": keys})}
    return tuple(made)


def declared():
    files = sorted(LAUNCHES.glob("*.yaml"))
    reading = rollout.read(rollout.Source(path.name, path.read_bytes()) for path in files)
    assert not reading.mistakes
    assert not reading.warnings
    return [one.rollout for one in reading.declared]


ROLLOUTS = declared()
ROUTES = [route_of(one, {v.name: v.weight for v in one.variants}) for one in ROLLOUTS]


class Lab(Stack):
    """A stack whose upstreams are model servers in threads of this process."""

    def start_upstreams(self):
        self._upstreams = self._running.enter_context(model_servers.serving(clusters_of(ROLLOUTS)))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "force.keys"
    keys.write_text(f"{QA.id} {QA.secret.decode()}\n")
    keys.chmod(0o600)
    plan = Plan(
        rollouts=LAUNCHES,
        name="examples",
        observed={"filters": filters()},
        env={"CANARY_FORCE_KEYS": str(keys)},
    )
    with Lab(plan) as running:
        yield running
    running.remove()


@pytest.fixture(scope="module")
def ask(lab):
    """Ask Envoy; return the cluster that answered, which must be the one the twin names."""
    connection = http.client.HTTPConnection(lab.envoy.address, timeout=10)

    def ask(path, claims=None, **headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        bearer = {"authorization": f"Bearer {token(claims)}"} if claims else {}
        connection.request("GET", path, headers={**sent, **bearer})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        one = expected(path, sent, claims or {})
        assert said["labels"] == {f"x-canary-{one.rollout}": one.variant}
        assert said["model"] == f"{one.rollout}-{one.variant}"
        return one.variant

    yield ask
    connection.close()


def expected(path, headers, claims):
    """What the twin decides: claims reach it as jwt_authn's metadata, and as the units' headers."""
    own = {k: v for k, v in headers.items() if k not in {"x-user-id", "x-tenant-id"}}
    units = {"x-user-id": claims.get("sub"), "x-tenant-id": claims.get("tenant")}
    sent = {":authority": "example.com", ":path": path, **own, **units}
    request = twin.Request(
        headers=[(name, value.encode()) for name, value in sent.items() if value],
        metadata={JWT: {"claims": claims}} if claims else {},
    )
    [decision] = twin.decide(ROUTES, request, now_s=int(time.time()), keys=[QA])
    return decision


def who(answers, variant):
    return {unit for unit, got in answers.items() if got == variant}


def cohort(launch, units, percent):
    """Whom assignment v1 puts into the first candidate, by the oracle that knows nothing of us."""
    found = oracle.cohort(launch, units, oracle.share(percent, 100))
    assert 0 < len(found) < len(units)
    return found


def test_the_configuration_fits_the_launches(lab):
    assert misfits(lab.envoy.config, ROLLOUTS) == ()


def test_llm_upgrade_gives_staff_the_large_model_and_5_percent_of_the_low_risk_tier(ask):
    def chat(user, **claims):
        return ask("/v1/chat/completions", {"sub": user, **claims})

    staff = {user: chat(user, email=f"{user}@example.com", risk="high") for user in USERS[:10]}
    assert set(staff.values()) == {"llm-70b"}
    low = {user: chat(user, risk="low", email=f"{user}@mail.test") for user in USERS}
    assert who(low, "llm-70b") == cohort("llm-upgrade", USERS, 5)
    high = {user: chat(user, risk="high") for user in USERS}
    assert set(high.values()) == {"llm-8b"}


@pytest.mark.parametrize(
    "pretence",
    [
        {"x_user_id": "user-1", "x_email": "boss@example.com", "email": "boss@example.com"},
        {"x_canary_llm_upgrade": "llm-70b"},
        {"x_jwt_payload": '{"email": "boss@example.com"}'},
    ],
)
def test_nobody_is_staff_by_saying_so(ask, pretence):
    assert ask("/v1/chat/completions", **pretence) == "llm-8b"


def test_a_token_that_somebody_else_signed_is_no_token(lab):
    forged = token(
        {"sub": "u", "email": "boss@example.com"}, key=b"another key, 32 bytes or longer.."
    )
    connection = http.client.HTTPConnection(lab.envoy.address, timeout=10)
    connection.request("GET", "/v1/chat", headers={"authorization": f"Bearer {forged}"})
    assert connection.getresponse().status == 401
    connection.close()


def test_a_signed_token_reaches_the_sidecar_and_forces_a_model(ask):
    soon = int(time.time()) + 600
    pairs = {"llm-upgrade": "llm-70b", "rag-embedding": "embed-v3"}
    assert ask("/v1/chat", canary_force=force.sign(QA, pairs, soon)) == "llm-70b"
    foreign = force.sign(force.Key("qa", b"f" * 32), pairs, soon)
    assert ask("/v1/chat", canary_force=foreign) == "llm-8b"
    # Who is excluded stays so, by whatever token.
    signed = force.sign(QA, pairs, soon)
    assert ask("/v1/search", {"sub": "u", "tenant": "initech"}, canary_force=signed) == "embed-v2"


def test_rag_embedding_switches_tenants_as_a_whole(ask):
    def search(tenant, user="u"):
        return ask("/v1/search", {"sub": user, "tenant": tenant})

    assert [search(tenant) for tenant in ("hooli", "pied-piper", "initech")] == [
        "embed-v3", "embed-v3", "embed-v2",
    ]  # fmt: skip
    tenants = {f"tenant-{number}": search(f"tenant-{number}") for number in range(40)}
    assert who(tenants, "embed-v3") == cohort("rag-embedding", tenants, 25)
    again = {tenant: search(tenant, user="another") for tenant in tenants}
    assert again == tenants
    assert ask("/v1/search", x_tenant_id="hooli") == "embed-v2"


def test_recommender_is_for_10_percent_of_the_logged_in_users_of_one_region(ask):
    eu = {user: ask("/recommendations", {"sub": user, "region": "eu"}) for user in USERS}
    assert who(eu, "rank-b") == cohort("recommender", USERS, 10)
    us = {user: ask("/recommendations", {"sub": user, "region": "us"}) for user in USERS}
    assert set(us.values()) == {"rank-a"}
    lucky = next(user for user in USERS if eu[user] == "rank-b")
    assert ask("/recommendations", cookie=f"session={lucky}") == "rank-a"


def test_support_agent_answers_about_one_product_line(ask):
    def talk(path, chat):
        return ask(path, cookie=f"a=b; chat={chat}")

    printers = {user: talk("/support/printers/jam?page=1", user) for user in USERS}
    assert who(printers, "agent-2") == cohort("support-agent", USERS, 50)
    lucky = next(user for user in USERS if printers[user] == "agent-2")
    assert talk("/support/scanners/jam", lucky) == "agent-1"
    assert talk("/support/printers/jam?escalated=yes", lucky) == "agent-1"
    assert ask("/support/printers/jam") == "agent-1"


def test_speech_model_is_for_one_device_type_with_a_new_enough_app(ask):
    def speak(device, **about):
        return ask("/v1/speech", x_device_id=device, **about)

    speakers = {d: speak(d, x_device_type="speaker", x_app_version="4.10.0") for d in USERS}
    assert who(speakers, "murmur") == cohort("speech-model", USERS, 30)
    lucky = next(device for device in USERS if speakers[device] == "murmur")
    assert speak(lucky, x_device_type="phone", x_app_version="4.10.0") == "whisper"
    assert speak(lucky, x_device_type="speaker", x_app_version="4.2.0-rc.1") == "whisper"
    assert speak(lucky, x_device_type="speaker") == "whisper"


def test_vision_model_sends_only_sharp_pictures_to_the_large_one(ask):
    def look(camera, megapixels):
        return ask("/v1/vision", x_camera_id=camera, x_megapixels=megapixels)

    dull = {camera: look(camera, "8") for camera in USERS}
    sharp = {camera: look(camera, "12.5") for camera in USERS}
    assert set(dull.values()) == {"old", "small"}
    assert set(sharp.values()) == {"old", "small", "large"}
    # Candidates never take from one another: sharper pictures leave the small model's as they are.
    assert who(dull, "small") == who(sharp, "small") == cohort("vision-model", USERS, 20)
