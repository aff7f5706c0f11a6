"""Signatures against vectors that the providers published or their own libraries made.

The libraries are heavy and not needed otherwise, so what they computed stands here:
twilio 9.13.0 (RequestValidator), plivo 4.63.0 (signature_v3), telnyx 4.189.0 with PyNaCl.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urlencode

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.telephony.access.signatures import (
    FORM,
    TOLERANCE,
    SignatureError,
    SignedRequest,
    verify_basic,
    verify_plivo,
    verify_telnyx,
    verify_twilio,
    verify_vonage,
)

HOST = "https://phone.example.com"
NOW = 1_790_000_000.0

TWILIO_URL = f"{HOST}/telephony/twilio/answer"
TWILIO_FORM = {
    "CallSid": "CA1",
    "From": "+15550100",
    "CallerName": "Jörg & Söhne",
    "Empty": "",
    "To": "+15550101",
}
JSON_BODY = b'{"CallSid":"CA1"}'
JSON_HASH = "85264246de8d570722726062407cde49dc5bb2c2569c179765b178e3ffe30825"

PLIVO_URL = f"{HOST}/telephony/plivo/answer"
PLIVO_NONCE = "05429567804466091622"

TELNYX_KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
TELNYX_BODY = b"CallSid=v3%3Aabc&From=%2B15550100"
TELNYX_SIGNATURE = (
    "91FJ+tiwJBkLFk0n7fNMITc7PsXd4ne+kLlfwOTGgDovjp9yhM2lGPeSQjS8AdyxHUqEsHu3iYDHffcgRjpFBw=="
)

VONAGE_SECRET = "a-signature-secret-of-forty-characters!!"


def form(url: str, fields: Mapping[str, object], **headers: str) -> SignedRequest:
    """A POST as the provider sends it; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = urlencode(fields, doseq=True).encode()
    return SignedRequest("POST", url, {"content-type": FORM, **named}, body)


def test_twilios_published_example() -> None:
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    verify_twilio(form(url, fields, x_twilio_signature="RSOYDt4T1cUTdK1PDd93/VVr8B8="), "12345")


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param("7dWgkM8m6X1Q7DU5C437MNHxp9k=", id="as configured"),
        pytest.param("aUVKIq3+WSIy7nKe2I/Pu30D79o=", id="signed with :443"),
    ],
)
def test_twilio_signs_a_form(signature: str) -> None:
    request = form(TWILIO_URL, TWILIO_FORM, x_twilio_signature=signature)
    verify_twilio(request, "12345")
    with_port = replace(request, url=TWILIO_URL.replace(".com", ".com:443"))
    verify_twilio(with_port, "12345")


def test_signalwire_signs_as_twilio_does_in_a_header_of_its_own() -> None:
    request = form(TWILIO_URL, TWILIO_FORM, x_signalwire_signature="7dWgkM8m6X1Q7DU5C437MNHxp9k=")
    verify_twilio(request, "12345", "x-signalwire-signature")


def twilio_json(body: bytes = JSON_BODY, digest: str = JSON_HASH) -> SignedRequest:
    headers = {
        "content-type": "application/json",
        "x-twilio-signature": "ziCIEf8fQm8zfva+abcqNkUcsBY=",
    }
    return SignedRequest("POST", f"{TWILIO_URL}?bodySHA256={digest}", headers, body)


def test_twilio_signs_the_hash_of_a_json_body() -> None:
    verify_twilio(twilio_json(), "12345")
    with pytest.raises(SignatureError, match="bodySHA256 in the query does not cover"):
        verify_twilio(twilio_json(body=b'{"CallSid":"CA2"}'), "12345")
    forged = hashlib.sha256(b"{}").hexdigest()
    with pytest.raises(SignatureError, match="signature in x-twilio-signature is wrong"):
        verify_twilio(twilio_json(b"{}", forged), "12345")


PLIVO: list[tuple[str, str, dict[str, object], str]] = [
    (
        "POST",
        "",
        {"CallUUID": "u-1", "From": "15550100", "To": "15550101", "Multi": ["b", "a"]},
        "0MfvS+THg/aE5ENO3UZQvoqV8zP0nAh36e/pP5XqEWk=",
    ),
    ("POST", "?b=2&a=1", {"CallUUID": "u-1"}, "l7SxKkH1ME3DKc3SwN1a1dzXgqWAZOnR4tACTATGMac="),
    ("POST", "?b=2&a=1", {}, "J1Mhvb35u+TfnUS0ZiE5V+74n228yj8Ce31VnGDEFw0="),
    ("POST", "", {}, "b+cskia55m7AUu5SpZISYvOkaxnqJNP0MMuxAX+1MLw="),
    (
        "GET",
        "?To=1&CallUUID=u-1&From=%2B15550100",
        {},
        "S4rZ8guQZmKIRbJShWQD0u6GluqF8yzLOPS0b6xXRnk=",
    ),
]


@pytest.mark.parametrize(("method", "query", "fields", "signature"), PLIVO)
def test_plivo_v3(method: str, query: str, fields: dict[str, object], signature: str) -> None:
    request = form(
        PLIVO_URL + query,
        fields,
        x_plivo_signature_v3=f"b3RoZXI=,{signature}",  # of the sub-account and of the account
        x_plivo_signature_v3_nonce=PLIVO_NONCE,
    )
    verify_plivo(replace(request, method=method), "MAXXXXtoken")


def telnyx(**changed: str) -> SignedRequest:
    headers = {
        "telnyx-signature-ed25519": TELNYX_SIGNATURE,
        "telnyx-timestamp": "1790000000",
        "content-type": FORM,
    }
    renamed = {name.replace("_", "-"): value for name, value in changed.items()}
    url = f"{HOST}/telephony/telnyx/answer"
    return SignedRequest("POST", url, headers | renamed, TELNYX_BODY)


def test_telnyx() -> None:
    verify_telnyx(telnyx(), TELNYX_KEY, NOW + TOLERANCE)
    with pytest.raises(SignatureError, match="check this machine's clock"):
        verify_telnyx(telnyx(), TELNYX_KEY, NOW + TOLERANCE + 1)
    with pytest.raises(SignatureError, match="check this machine's clock"):
        verify_telnyx(telnyx(), TELNYX_KEY, NOW - TOLERANCE - 1)


@pytest.mark.parametrize("time", ["nan", "inf", "-1", "１７９", "9" * 400, "1790000001", ""])
def test_telnyx_times_that_were_not_signed(time: str) -> None:
    with pytest.raises(SignatureError):
        verify_telnyx(telnyx(telnyx_timestamp=time), TELNYX_KEY, NOW)


def test_a_bad_telnyx_key_is_named() -> None:
    with pytest.raises(SignatureError, match=r"telephony\.telnyx\.public_key"):
        verify_telnyx(telnyx(), "c2hvcnQ=", NOW)


def vonage(
    body: bytes = b'{"uuid":"u-1"}', secret: str = VONAGE_SECRET, **claims: object
) -> SignedRequest:
    payload: dict[str, object] = {
        "iat": int(NOW),
        "iss": "Vonage",
        "jti": "1f5d",
        "api_key": "abcd",
        "application_id": "app-1",
        "payload_hash": hashlib.sha256(body).hexdigest(),
    }
    merged = {name: value for name, value in (payload | claims).items() if value is not None}
    token = jwt.encode(merged, secret, "HS256")
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return SignedRequest("POST", f"{HOST}/telephony/vonage/answer", headers, body)


def test_vonage() -> None:
    verify_vonage(vonage(), VONAGE_SECRET, NOW, "app-1")
    verify_vonage(vonage(b"", payload_hash=None), VONAGE_SECRET, NOW)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (replace(vonage(), body=b'{"uuid":"u-2"}'), "not the hash of the body"),
        (vonage(payload_hash=None), "not the hash of the body"),
        (replace(vonage(), body=b""), "not the hash of the body"),
        (vonage(secret="another-secret-of-more-than-32-characters"), "signature_secret"),
        (vonage(iss="Mallory"), "not issued by Vonage"),
        (vonage(iat=int(NOW - TOLERANCE - 1)), "clock"),
        (vonage(iat=int(NOW + TOLERANCE + 1)), "clock"),
        (vonage(iat="1790000000"), "no number"),
        (vonage(iat=float("nan")), "clock"),
        (vonage(iat=10**400), "out of range"),
        (vonage(iat=None), "signature_secret"),
        (vonage(exp=int(NOW)), "expired"),
        (vonage(application_id="app-2"), "another application"),
    ],
)
def test_vonage_refuses(request_: SignedRequest, says: str) -> None:
    with pytest.raises(SignatureError, match=says):
        verify_vonage(request_, VONAGE_SECRET, NOW, "app-1")


def test_an_unsigned_jwt_is_refused() -> None:
    claims = {"iat": int(NOW), "iss": "Vonage"}
    token = jwt.encode(claims, "", algorithm="none")
    request = SignedRequest("POST", HOST, {"authorization": f"Bearer {token}"})
    with pytest.raises(SignatureError, match="bearer token is wrong"):
        verify_vonage(request, VONAGE_SECRET, NOW)


def test_name_and_password() -> None:
    request = SignedRequest("GET", HOST, {"authorization": "Basic YWdlbnQ6czNjcsOpdA=="})
    verify_basic(request, "agent", "s3crét")
    for name, password in [("agent", "s3cret"), ("agen", "t:s3crét"), ("", "")]:
        with pytest.raises(SignatureError, match="name or password is wrong"):
            verify_basic(request, name, password)


Verify = Callable[[SignedRequest], None]
VERIFIERS: list[tuple[Verify, SignedRequest]] = [
    (
        lambda request: verify_twilio(request, "12345"),
        form(TWILIO_URL, TWILIO_FORM, x_twilio_signature="7dWgkM8m6X1Q7DU5C437MNHxp9k="),
    ),
    (
        lambda request: verify_plivo(request, "MAXXXXtoken"),
        form(
            PLIVO_URL,
            PLIVO[0][2],
            x_plivo_signature_v3=PLIVO[0][3],
            x_plivo_signature_v3_nonce=PLIVO_NONCE,
        ),
    ),
    (lambda request: verify_telnyx(request, TELNYX_KEY, NOW), telnyx()),
    (lambda request: verify_vonage(request, VONAGE_SECRET, NOW), vonage()),
]
BY_NAME = pytest.mark.parametrize(
    ("verify", "right"), VERIFIERS, ids=["twilio", "plivo", "telnyx", "vonage"]
)


@BY_NAME
def test_a_request_without_its_signature_is_refused(verify: Verify, right: SignedRequest) -> None:
    verify(right)
    for header in right.headers.keys() - {"content-type"}:
        others = {name: value for name, value in right.headers.items() if name != header}
        with pytest.raises(SignatureError, match=f"no {header} header"):
            verify(replace(right, headers=others))


@BY_NAME
@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_body_is_noticed(
    verify: Verify, right: SignedRequest, at: int, flip: int
) -> None:
    at %= len(right.body)
    changed = bytes([*right.body[:at], right.body[at] ^ flip, *right.body[at + 1 :]])
    same_form = replace(right, body=changed).is_form and _fields(right) == _fields(changed)
    if same_form:  # such as "a" and "%61": the same fields, so the same call
        return
    with pytest.raises(SignatureError):
        verify(replace(right, body=changed))


def _fields(request: SignedRequest | bytes) -> list[tuple[str, str]]:
    body = request if isinstance(request, bytes) else request.body
    try:
        return SignedRequest("POST", HOST, {"content-type": FORM}, body).form()
    except SignatureError:
        return []


@BY_NAME
@given(junk=st.text(max_size=300), body=st.binary(max_size=300))
def test_junk_raises_nothing_else(
    verify: Verify, right: SignedRequest, junk: str, body: bytes
) -> None:
    headers = dict.fromkeys(right.headers, junk)
    for content_type in (FORM, "application/json", junk):
        request = SignedRequest("POST", right.url, headers | {"content-type": content_type}, body)
        with pytest.raises(SignatureError):
            verify(request)


def test_a_form_of_too_many_fields_is_not_read() -> None:
    many = "&".join(f"a{number}=1" for number in range(1000)).encode()
    request = replace(form(TWILIO_URL, {}, x_twilio_signature="x"), body=many)
    with pytest.raises(SignatureError, match="at most 200 fields"):
        verify_twilio(request, "12345")
