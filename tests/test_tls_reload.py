"""The certificate of a running server is read again at SIGHUP, with the other settings."""

import asyncio
import os
import signal
import ssl
import sys

import pytest
from test_call import engines

from agent.config.settings import Settings
from agent.server import tls
from agent.server.app import listen, serve


async def shown(port):
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
async def test_sighup_reads_the_certificate_again_and_a_broken_one_changes_nothing(
    tmp_path, caplog
):
    before = signal.getsignal(signal.SIGHUP)
    certificate, key = tls.self_signed(tmp_path)
    settings = Settings(server={"certificate": certificate, "key": key})
    sock, ready, reloads = listen("127.0.0.1", 0), asyncio.Event(), asyncio.Queue()

    def reload(old):
        reloads.put_nowait(None)
        return old

    serving = asyncio.create_task(serve(settings, engines({}), sock, ready.set, reload=reload))
    try:
        async with asyncio.timeout(30):
            await ready.wait()
            port = sock.getsockname()[1]
            first = await shown(port)
            certificate.unlink()
            tls.self_signed(tmp_path)
            os.kill(os.getpid(), signal.SIGHUP)
            await reloads.get()
            await asyncio.sleep(0)
            second = await shown(port)
            assert second != first
            certificate.write_text("nonsense")
            os.kill(os.getpid(), signal.SIGHUP)
            await reloads.get()
            await asyncio.sleep(0)
            assert await shown(port) == second
            assert "stays as it was" in caplog.text
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        signal.signal(signal.SIGHUP, before)
