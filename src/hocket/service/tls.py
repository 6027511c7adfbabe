"""TLS: a certificate of one's own, or one from a certificate authority made for the run (development)."""

import ipaddress
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hocket.errors import InvalidInput
from hocket.files import replace
from hocket.service.identity import write_secret

DAYS = 365
CA, CERTIFICATE, KEY = "ca.pem", "server.pem", "server.key"


def loopback(host: str) -> bool:
    """Whether nobody outside this machine can reach an address.

    >>> loopback("127.0.0.1"), loopback("localhost"), loopback("0.0.0.0"), loopback("example.org")
    (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def development(folder: Path, names: Sequence[str]) -> tuple[Path, Path, Path]:
    """Files of a certificate authority, a server certificate for ``names`` and its key, made if they are not there.

    The authority's own key is thrown away: it signs the server, and with ``issue`` nothing else.
    """
    ca, certificate, key = folder / CA, folder / CERTIFICATE, folder / KEY
    if not (ca.exists() and certificate.exists() and key.exists()):
        authority, authority_key = _authority()
        leaf, leaf_key = _issue(authority, authority_key, "hocket server", names, server=True)
        _write(folder, {CA: _pem(authority), CERTIFICATE: _pem(leaf), KEY: _secret(leaf_key)})
    return ca, certificate, key


def client_authority(folder: Path, devices: Sequence[str]) -> Path:
    """Files ``clients.pem`` and ``NAME.pem``, ``NAME.key`` of certificates for devices, for trying mutual TLS out."""
    authority, key = _authority()
    files = {"clients.pem": _pem(authority)}
    for name in devices:
        leaf, leaf_key = _issue(authority, key, name, (), server=False)
        files |= {f"{name}.pem": _pem(leaf), f"{name}.key": _secret(leaf_key)}
    _write(folder, files)
    return folder / "clients.pem"


def server_context(certificate: Path, key: Path, clients: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer; with ``clients``, devices must show a certificate of that authority.

    Raises:
        InvalidInput: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with _naming(certificate, key, clients):
        context.load_cert_chain(certificate, key)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: Path | None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Trust in ``ca`` alone (None: what the system trusts); ``certificate`` and ``key`` for mutual TLS.

    Raises:
        InvalidInput: a file cannot be used.
    """
    with _naming(ca, certificate, key):
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    return context


class _naming:
    """Turn what OpenSSL says into an error that names the files."""

    def __init__(self, *files: Path | None) -> None:
        self._files = ", ".join(str(f) for f in files if f is not None)

    def __enter__(self) -> None:
        """Nothing to do yet."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):  # ssl.SSLError is one
            raise InvalidInput(
                f"TLS with {self._files}: {error.strerror or error}; give PEM files that belong together"
            )


def _authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hocket development CA")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = _builder(name, name, key).add_extension(x509.BasicConstraints(True, 0), True)
    builder = builder.add_extension(usage, True).add_extension(identity, False)
    return builder.sign(key, hashes.SHA256()), key


def _issue(
    authority: x509.Certificate, signer: ec.EllipticCurvePrivateKey, common: str, names: Sequence[str], server: bool
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = _builder(subject, authority.subject, key).add_extension(x509.BasicConstraints(False, None), True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(n) for n in names]), False)
    return builder.sign(signer, hashes.SHA256()), key


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=DAYS))


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _secret(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        write = write_secret if name.endswith(".key") else Path.write_bytes
        replace(folder / name, partial(write, data=data))
