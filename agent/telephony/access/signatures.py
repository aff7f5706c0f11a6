"""Verification of webhooks: each provider's own way of signing its requests.

The URL that a signature covers is built from the configured public address, never from the
``Host`` or ``X-Forwarded-*`` headers of the request, which its sender chooses. All comparisons
take the same time for every wrong answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.errors import ProtocolError

TOLERANCE = 300.0
"""Seconds by which a signed time may be off, as Telnyx recommends."""
MAX_FIELDS = 200
"""Fields of a form, at most; providers send about thirty."""

FORM = "application/x-www-form-urlencoded"
_STANDARD_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


class SignatureError(ProtocolError):
    """The request cannot be proved to come from the provider; the message says what to check."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One HTTP request, with the parts that signatures cover.

    Args:
        url: the public URL, with the query exactly as it was sent.
        headers: names in lower case.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_form(self) -> bool:
        """Whether the body is a URL-encoded form."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM

    def form(self) -> list[tuple[str, str]]:
        """Fields of the body; empty unless the body is a form.

        Raises:
            SignatureError: the body is not UTF-8 or has too many fields.
        """
        return _fields(self.body) if self.is_form else []

    def query(self) -> list[tuple[str, str]]:
        """Fields of the URL."""
        return _fields(urlsplit(self.url).query.encode())


def verify_twilio(
    request: SignedRequest, auth_token: str, header: str = "x-twilio-signature"
) -> None:
    """Verify the HMAC-SHA1 of URL and sorted form fields of Twilio and SignalWire.

    A body of another kind is covered by ``bodySHA256`` in the query. Twilio's own validator takes
    the URL with and without its standard port, and so does this one.
    (twilio.com/docs/usage/security, "Validating signatures from Twilio")

    Raises:
        SignatureError: the signature is missing or wrong.
    """
    given = _required(request, header)
    if not request.is_form and request.body:
        _check_body_hash(request)
    urls = _with_and_without_port(request.url)
    right = [twilio_signature(url, request.form(), auth_token) for url in urls]
    if not any(_same(given, candidate) for candidate in right):
        raise SignatureError(
            f"the signature in {header} is wrong: check the auth token, and that "
            f"telephony.public_url and this path are the address set at the provider"
        )


def twilio_signature(url: str, form: Iterable[tuple[str, str]], auth_token: str) -> str:
    """The value of X-Twilio-Signature for a request."""
    fields = "".join(name + value for name, value in sorted(set(form)))
    return _mac(auth_token, url + fields, "sha1")


def verify_telnyx(request: SignedRequest, public_key: str, now: float) -> None:
    """Verify Telnyx's Ed25519 signature of time and body.

    (developers.telnyx.com, "Receiving webhooks")

    Args:
        public_key: base64, from the portal's "Keys & Credentials".
        now: seconds since 1970.

    Raises:
        SignatureError: the signature is missing, wrong or too old.
    """
    signature = _required(request, "telnyx-signature-ed25519")
    time = _required(request, "telnyx-timestamp")
    if not (time.isascii() and time.isdigit() and len(time) < 16):
        raise SignatureError("telnyx-timestamp is no number of seconds")
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        key.verify(base64.b64decode(signature, validate=True), f"{time}|".encode() + request.body)
    except (InvalidSignature, ValueError):
        raise SignatureError(
            "the signature in telnyx-signature-ed25519 is wrong: check telephony.telnyx.public_key"
        ) from None
    _check_time(float(time), now)


def verify_plivo(request: SignedRequest, auth_token: str) -> None:
    """Verify Plivo's V3: HMAC-SHA256 of URL, sorted query, sorted form fields and nonce.

    (plivo.com/docs/voice, "Validate signatures"; reference: plivo-python, signature_v3)

    Raises:
        SignatureError: the signature is missing, or all that were given are wrong.
    """
    given = _required(request, "x-plivo-signature-v3")
    nonce = _required(request, "x-plivo-signature-v3-nonce")
    right = plivo_signature(request, nonce, auth_token)
    if not any(_same(one.strip(), right) for one in given.split(",")[:8]):
        raise SignatureError(
            "the signature in x-plivo-signature-v3 is wrong: check telephony.plivo.auth_token and "
            "telephony.public_url"
        )


def plivo_signature(request: SignedRequest, nonce: str, auth_token: str) -> str:
    """The value of X-Plivo-Signature-V3 for a request."""
    parts = urlsplit(request.url)
    signed = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    query = "&".join(f"{name}={value}" for name, value in _by_name(request.query()))
    form = "".join(name + value for name, value in _by_name(request.form()))
    if request.method == "POST" and form:
        signed += f"?{query}." if query else "?"
        signed += form
    elif query:
        signed += f"?{query}"
    return _mac(auth_token, f"{signed}.{nonce}", "sha256")


def verify_vonage(
    request: SignedRequest, secret: str, now: float, application_id: str | None = None
) -> None:
    """Verify Vonage's JWT (HS256), whose ``payload_hash`` is the SHA-256 of the body.

    A GET has no body to hash, so its query is not signed; let Vonage use POST.
    (developer.vonage.com, "Signed webhooks")

    Args:
        now: seconds since 1970.
        application_id: the only application whose tokens are accepted; None for all.

    Raises:
        SignatureError: the token is missing, wrong or too old.
    """
    kind, _, token = _required(request, "authorization").partition(" ")
    if kind.lower() != "bearer":
        raise SignatureError("authorization is no bearer token: turn on signed webhooks at Vonage")
    try:
        claims = jwt.decode(
            token.strip(),
            secret,
            algorithms=["HS256"],
            # Times are checked below, against ``now``.
            options={
                "verify_iat": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_aud": False,
                "require": ["iat", "iss"],
            },
        )
    except jwt.InvalidTokenError:
        raise SignatureError(
            "the bearer token is wrong: check telephony.vonage.signature_secret"
        ) from None
    _check_claims(claims, request, application_id)
    _check_time(_number(claims["iat"]), now)
    if "exp" in claims and _number(claims["exp"]) <= now:
        raise SignatureError("the bearer token has expired; check this machine's clock")


def verify_basic(request: SignedRequest, username: str, password: str) -> None:
    """Verify HTTP Basic authentication, from the URL that was set at the provider (RFC 7617).

    Raises:
        SignatureError: name or password is missing or wrong.
    """
    kind, _, given = _required(request, "authorization").partition(" ")
    right = base64.b64encode(f"{username}:{password}".encode()).decode()
    if kind.lower() != "basic" or not _same(given.strip(), right):
        raise SignatureError("name or password is wrong: set those of the settings at the provider")


def _required(request: SignedRequest, header: str) -> str:
    value = request.headers.get(header)
    if not value:
        raise SignatureError(f"the request has no {header} header: it is not from the provider")
    return value


def _fields(encoded: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:  # UnicodeDecodeError is one
        raise SignatureError(f"no form of UTF-8 with at most {MAX_FIELDS} fields") from None


def _by_name(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Sorted by name, the values of one name sorted too."""
    values = defaultdict(list)
    for name, value in fields:
        values[name].append(value)
    return [(name, value) for name in sorted(values) for value in sorted(values[name])]


def _with_and_without_port(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    port = _STANDARD_PORTS.get(parts.scheme)
    bare = parts.netloc.removesuffix(f":{port}")
    if bare == parts.netloc and parts.port is not None:
        return url, url
    return (
        urlunsplit(parts._replace(netloc=bare)),
        urlunsplit(parts._replace(netloc=f"{bare}:{port}")),
    )


def _check_body_hash(request: SignedRequest) -> None:
    given = dict(request.query()).get("bodySHA256", "")
    if not _same(given.lower(), hashlib.sha256(request.body).hexdigest()):
        raise SignatureError("the body is no form, and bodySHA256 in the query does not cover it")


def _check_claims(
    claims: Mapping[str, object], request: SignedRequest, application_id: str | None
) -> None:
    if claims["iss"] != "Vonage":
        raise SignatureError("the bearer token was not issued by Vonage")
    if application_id is not None and claims.get("application_id") != application_id:
        raise SignatureError(
            "the bearer token is of another application than telephony.vonage.application_id"
        )
    payload_hash = str(claims.get("payload_hash", ""))
    digest = hashlib.sha256(request.body).hexdigest()
    if (request.body or payload_hash) and not _same(payload_hash.lower(), digest):
        raise SignatureError("payload_hash in the bearer token is not the hash of the body")


def _check_time(signed_at: float, now: float) -> None:
    # "not <=" also refuses NaN.
    if not abs(now - signed_at) <= TOLERANCE:
        raise SignatureError(
            f"the request was signed more than {TOLERANCE:.0f} s ago or ahead of time; "
            "check this machine's clock"
        )


def _number(claim: object) -> float:
    if isinstance(claim, bool) or not isinstance(claim, (int, float)):
        raise SignatureError("a time in the bearer token is no number")
    try:
        return float(claim)
    except OverflowError:
        raise SignatureError("a time in the bearer token is out of range") from None


def _mac(key: str, text: str, algorithm: str) -> str:
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), algorithm)).decode()


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())
