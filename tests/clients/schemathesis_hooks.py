"""What Schemathesis needs to know of API 3.0: how requests are signed, which ids exist, and what counts as a failure.

Settings come from the environment: GATEWAY_SECRET_ID, GATEWAY_SECRET_KEY, GATEWAY_IDS (JSON, field to id), GATEWAY_VERSIONS (JSON, operation
to X-TC-Version), GATEWAY_SEEN (a file: what was answered how often, as JSON).
"""

import atexit
import collections
import hashlib
import hmac
import itertools
import json
import os
import time
import urllib.parse

import requests
import schemathesis

VERSIONS = json.loads(os.environ["GATEWAY_VERSIONS"])
IDS = json.loads(os.environ["GATEWAY_IDS"])
# Seconds between two lines of progress.
PACE = 10
numbers = itertools.count()
seen = collections.Counter()
told = time.monotonic()


def digest(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Tc3(requests.auth.AuthBase):
    """TC3-HMAC-SHA256, with a signed number that makes every request another one."""

    def __call__(self, request):
        url = urllib.parse.urlsplit(request.url)
        now = int(time.time())
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        request.headers.update({
            "X-TC-Timestamp": str(now),
            "X-TC-Version": VERSIONS.get(url.path.rsplit("/", 1)[-1], ""),
            "X-Request-Number": str(next(numbers)),
            "Host": url.netloc,
        })
        names = "content-type;host;x-request-number"
        request.headers.setdefault("Content-Type", "application/json")
        headers = "".join(f"{name}:{request.headers[name].strip().lower()}\n" for name in names.split(";"))
        whole = "\n".join([request.method, url.path, url.query, headers, names, hashlib.sha256(body).hexdigest()])
        scope = f"{day}/vpc/tc3_request"
        text = "\n".join(["TC3-HMAC-SHA256", str(now), scope, hashlib.sha256(whole.encode()).hexdigest()])
        key = ("TC3" + os.environ["GATEWAY_SECRET_KEY"]).encode()
        for part in scope.split("/"):
            key = digest(key, part)
        request.headers["Authorization"] = (
            f"TC3-HMAC-SHA256 Credential={os.environ['GATEWAY_SECRET_ID']}/{scope}, "
            f"SignedHeaders={names}, Signature={digest(key, text).hex()}"
        )
        return request


schemathesis.auth.set_from_requests(Tc3())


@schemathesis.hook
def map_body(context, body):
    """Every other request names objects that exist: random ids would only ever see one refusal."""
    if isinstance(body, dict) and next(numbers) % 2:
        for field, known in IDS.items():
            if isinstance(body.get(field), str):
                body[field] = known
    return body


@schemathesis.hook
def after_call(context, case, response):
    try:
        code = response.json()["Response"].get("Error", {}).get("Code", "answered")
    except (ValueError, KeyError, AttributeError):
        code = "not of the API"
    seen[f"{response.status_code} {code}"] += 1
    tell_progress()


def tell_progress():
    """Past Schemathesis, which keeps what Python prints: whoever waits for a long run sees that it lives."""
    global told
    if time.monotonic() - told >= PACE:
        told = time.monotonic()
        os.write(2, f"progress: {seen.total()} cases\n".encode())


@schemathesis.check
def reached_an_operation(context, response, case):
    """A refusal by a limit, for the version or for the signature would hide what is tested; an internal error is a server error."""
    if response.status_code != 200:
        return
    code = response.json()["Response"].get("Error", {}).get("Code", "")
    # Some cases leave the authentication out on purpose.
    signed = "X-TC-Timestamp" in response.request.headers
    assert code not in ("InternalError", "RequestLimitExceeded", "NoSuchVersion"), code
    assert signed != code.startswith("AuthFailure"), code


@atexit.register
def write_what_was_seen():
    with open(os.environ["GATEWAY_SEEN"], "w") as file:
        json.dump(seen, file)
