"""TLS: a certificate that is read again on SIGHUP, and one that the server signs itself."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import socket
import ssl
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.config.settings import ServerSettings
from agent.errors import ConfigError

log = logging.getLogger("onebreath.tls")

DAYS = 30
"""Days for which a certificate of the server's own is valid."""


class ReloadedCertificate:
    """The certificate of a running server.

    Args:
        context: of the connections to come.
        settings: with the files of the certificate and its key.
    """

    def __init__(self, context: ssl.SSLContext, settings: ServerSettings) -> None:
        self._context = context
        self._settings = settings

    @classmethod
    def of(cls, config: uvicorn.Config, settings: ServerSettings) -> ReloadedCertificate | None:
        """Load the certificate of ``config``; None if there is none.

        Raises:
            ConfigError: the files are missing or do not belong together.
        """
        if settings.certificate is None:
            return None
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"server.certificate and server.key: {error}") from None
        assert config.ssl is not None
        return cls(config.ssl, settings)

    def reload(self) -> None:
        """Read the files again for new connections; on an error the old certificate stays."""
        assert self._settings.certificate is not None
        try:
            self._context.load_cert_chain(self._settings.certificate, self._settings.key)
        except (OSError, ssl.SSLError) as error:
            log.error("the certificate stays as it was: %s", error)
        else:
            log.warning("the certificate was read again")


def self_signed(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) files for this machine's names and addresses, made in ``folder``.

    They are made anew unless those that are there are still valid for a day.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not (key.is_file() and _still_valid(certificate)):
        made, private = _make()
        key.touch(mode=0o600)
        key.write_bytes(private)
        certificate.write_bytes(made)
    return certificate, key


def _still_valid(file: Path) -> bool:
    try:
        known = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return False
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    names = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    here = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return known.not_valid_after_utc > tomorrow and set(own_addresses()) <= here


def _make() -> tuple[bytes, bytes]:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "onebreath")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(socket.gethostname())]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in own_addresses()]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def own_addresses() -> list[str]:
    """Addresses of this machine, loopback first, then the one that reaches other networks."""
    addresses = ["127.0.0.1", "::1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # no packet is sent: the route names the address
            addresses.append(str(probe.getsockname()[0]))
        except OSError:
            pass
    return list(dict.fromkeys(addresses))
