"""Makes what NATS and its users need: keys that stay with whoever installs Reprise, and what is made from them.

The folder holds the seeds of the operator, of the account and of each role's signer, and the key of the certificates' authority.
It belongs to no pod and no node: with it, any user can be made. One more node needs one more user(), and no change to NATS.
"""

import datetime
import ipaddress
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from reprise.runtime.access import tokens
from reprise.runtime.access.client import CA, CREDENTIALS
from reprise.runtime.access.rights import ROLES
from reprise.runtime.access.tokens import Key, Kind

AUTHORITY_LIVES = datetime.timedelta(days=3650)
SERVER_LIVES = datetime.timedelta(days=825)
"""A new one is made with each call of server(): the longest that every TLS library accepts."""
NATS = "nats"
OWNER = "owner"
"""No service is one: for whoever has to look into everything."""


class Authority:
    """What exists in the folder is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._operator, self._account, self._system = self._key("operator"), self._key("account"), self._key("account", "system")

    def server(self, names: Iterable[str]) -> dict[str, str]:
        """The files of NATS, by name. names: the host names and addresses by which it is reached."""
        signers = {name: (self._key("account", f"signer-{name}"), role.rights()) for name, role in ROLES.items()}
        account = tokens.account_token(self._operator, self._account, "reprise", signers)
        system = tokens.account_token(self._operator, self._system, "system", {})
        config = [
            f"operator: {tokens.operator_token(self._operator, self._system.public)}",
            f"system_account: {self._system.public}",
            "resolver: MEMORY",
            f"resolver_preload: {{ {self._account.public}: {account}, {self._system.public}: {system} }}",
        ]
        certificate, key = self._server_certificate(names)
        return {"accounts.conf": "\n".join(config) + "\n", "tls.crt": certificate, "tls.key": key, CA: self._trusted()}

    def user(self, role: str, name: str) -> dict[str, str]:
        """The files of a user, by name: whose certificate NATS must show, and its credentials as NATS' own tools read them.

        role: of rights.ROLES; OWNER may do everything.
        """
        key, signer = Key.new("user"), self._account if role == OWNER else self._key("account", f"signer-{role}")
        token = tokens.user_token(signer, self._account.public, key, name)
        credentials = (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{key.seed}\n------END USER NKEY SEED------\n"
        )
        return {CA: self._trusted(), CREDENTIALS: credentials}

    def _trusted(self) -> str:
        return self._authority[0].public_bytes(Encoding.PEM).decode()

    def _key(self, kind: Kind, name: str = "") -> Key:
        path = self._folder / f"{name or kind}.seed"
        if not path.exists():
            _write(path, Key.new(kind).seed + "\n")
        return Key.read(path.read_text().strip())

    @cached_property
    def _authority(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        crt, pem = self._folder / "ca.crt", self._folder / "ca.key"
        if not crt.exists():
            key, name = ec.generate_private_key(ec.SECP256R1()), _named("Reprise")
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            made = _certificate(name, name, key.public_key(), key.public_key(), AUTHORITY_LIVES)
            made = made.add_extension(usage, critical=True)
            made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            _write(pem, _pem(key))
            _write(crt, made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode())
        loaded = load_pem_private_key(pem.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(crt.read_bytes()), loaded

    def _server_certificate(self, names: Iterable[str]) -> tuple[str, str]:
        authority, signer = self._authority
        key = ec.generate_private_key(ec.SECP256R1())
        # The servers of a cluster are each other's clients.
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        made = _certificate(_named(NATS), authority.subject, key.public_key(), signer.public_key(), SERVER_LIVES)
        made = made.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        made = made.add_extension(usage, critical=False)
        return made.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM).decode(), _pem(key)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePublicKey,
    lives: datetime.timedelta,
) -> x509.CertificateBuilder:  # fmt: skip
    """With both key identifiers, which RFC 5280 asks for and Python 3.13 checks."""
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)  # a node's clock may be behind
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    made = made.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(start + lives)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
