"""API keys that change while the server runs: added, removed, replaced and expired ones."""

import contextlib
import datetime
import json
import signal
import sys

import httpx
import pytest
from starlette.datastructures import Headers
from test_access import Clock, refused
from test_server import dial, until
from test_stopping import TOML, process

from agent.config.settings import ApiKeySettings, ServerSettings, Settings
from agent.runtime.reload import reloaded
from agent.server.access import Access, Refused
from agent.server.keys import Keys, new_key

KEY, HASH = new_key()
OTHER, OTHER_HASH = new_key()


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def keys_of(**hashes):
    return {name: ApiKeySettings(hash=digest) for name, digest in hashes.items()}


def test_a_removed_key_is_refused_and_an_added_one_admitted():
    keys = Keys(keys_of(app=HASH))
    keys.take(keys_of(web=OTHER_HASH))
    assert keys.admit(KEY) is None
    assert keys.admit(OTHER).caller.name == "web"


def test_calls_that_are_up_count_for_the_key_of_their_name():
    keys = Keys({"app": ApiKeySettings(hash=HASH, max_calls=2)})
    caller = keys.admit(KEY).caller
    with caller.line():
        keys.take({})
        keys.take({"app": ApiKeySettings(hash=OTHER_HASH, max_calls=1, events_per_minute=60)})
        again = keys.admit(OTHER).caller
        with pytest.raises(Exception, match="1 calls up already"), again.line():
            pass
        assert again.events.per_minute == 60
    with again.line():
        pass


def test_secrets_go_with_the_key_that_made_them():
    keys = Keys(keys_of(app=HASH, web=OTHER_HASH))
    made = [keys.make_secret(keys.admit(token).caller, {}) for token in (KEY, OTHER)]
    keys.take(keys_of(app=OTHER_HASH, web=OTHER_HASH))
    assert keys.admit(made[0].value) is None
    assert keys.admit(made[1].value) is not None


def test_a_secret_does_not_outlive_its_key():
    clock = Clock()
    soon = datetime.datetime.fromtimestamp(clock.now + 10, datetime.UTC)
    keys = Keys({"app": ApiKeySettings(hash=HASH, expires=soon)}, clock)
    secret = keys.make_secret(keys.admit(KEY).caller, {}, 7200)
    clock.now += 11
    assert keys.admit(secret.value) is None
    later = datetime.datetime.fromtimestamp(clock.now + 10, datetime.UTC)
    keys.take({"app": ApiKeySettings(hash=HASH, expires=later)})
    assert keys.admit(KEY) is not None


def test_a_server_that_had_keys_is_never_open_to_everybody(caplog):
    access = Access(ServerSettings(api_keys={"app": {"hash": HASH}}), Keys(keys_of(app=HASH)))
    access.take(ServerSettings())
    here = {"host": "127.0.0.1:8080"}
    for headers in (here, {**here, "authorization": f"Bearer {KEY}"}):
        with pytest.raises(Refused):
            access.admit(Headers(headers))
    assert "no API key is left" in caplog.text
    assert KEY not in caplog.text


def test_the_first_keys_end_what_was_open_to_everybody():
    keys = Keys({})
    secret = keys.make_secret(keys.admit(None).caller, {"instructions": "x"})
    keys.take(keys_of(app=HASH))
    assert keys.admit(None) is None
    assert keys.admit(secret.value) is None
    assert keys.admit(KEY) is not None


def test_keys_are_read_again_and_a_key_of_the_run_stays(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text(f"[server.api_keys.web]\nhash = '{OTHER_HASH}'\n")
    old = Settings(server={"api_keys": {"app": {"hash": HASH}, "this_run": {"hash": HASH}}})
    new = reloaded(old, file)
    assert set(new.server.api_keys) == {"web", "this_run"}


@contextlib.contextmanager
def running(tmp_path):
    """A server's process, and a way to write its keys anew."""
    text = TOML.format(drain=0)

    def write(**hashes):
        keys = [f"[server.api_keys.{n}]\nhash = '{digest}'\n" for n, digest in hashes.items()]
        (tmp_path / "x.toml").write_text("\n".join([text, *keys]))

    with process(tmp_path, drain=0) as (server, address, _):
        yield server, address, write


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
async def test_a_call_of_a_removed_key_goes_on(tmp_path):
    with running(tmp_path) as (server, address, write):
        write(app=HASH)
        server.send_signal(signal.SIGHUP)
        while not await _needs_a_key(address):
            pass
        async with dial(address, additional_headers=bearer(KEY)) as line:
            await until(line, "session.created")
            write(web=OTHER_HASH)
            server.send_signal(signal.SIGHUP)
            async with httpx.AsyncClient(base_url=f"http://{address}") as web:
                while (await web.get("/v1/realtime/ice", headers=bearer(KEY))).is_success:
                    pass
                page = {**bearer(OTHER), "Origin": "https://app.example"}
                answer = await web.get("/v1/realtime/ice", headers=page)
                assert answer.headers["access-control-allow-origin"] == "*"
            assert await refused(address, additional_headers=bearer(KEY)) == 401
            await line.send(json.dumps({"type": "onebreath.ping", "client_time_ms": 1}))
            await until(line, "onebreath.pong")
            async with dial(address, additional_headers=bearer(OTHER)) as second:
                await until(second, "session.created")


async def _needs_a_key(address):
    async with httpx.AsyncClient(base_url=f"http://{address}") as web:
        return (await web.get("/v1/realtime/ice")).status_code == 401
