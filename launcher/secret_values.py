"""Secrets of one installation: generated at its first start, kept in a file that only the launcher reads."""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, field, fields

from launcher.errors import LauncherError
from launcher.layout import StateFolder, write_private


@dataclass(frozen=True)
class DatabasePasswords:
    """Passwords of the two database roles, letters and digits only."""

    owner: str = field(repr=False)
    application: str = field(repr=False)


@dataclass(frozen=True)
class SecretValues:
    """Everything random that an installation must find again at its next start."""

    installation: str
    secret_key: str
    encryption_keys: str
    database_owner_password: str
    database_application_password: str
    redis_password: str
    gateway_development_token: str
    gateway_production_token: str

    def __repr__(self) -> str:
        return f"SecretValues(installation={self.installation!r})"

    @property
    def database_passwords(self) -> DatabasePasswords:
        return DatabasePasswords(self.database_owner_password, self.database_application_password)

    @classmethod
    def generate(cls) -> "SecretValues":
        # Letters and digits only, so that no value needs quoting in an address or a configuration file.
        return cls(
            installation=secrets.token_hex(8),
            secret_key=secrets.token_hex(32),
            # A Fernet key: 32 random bytes in URL-safe base64.
            encryption_keys=base64.urlsafe_b64encode(os.urandom(32)).decode(),
            database_owner_password=secrets.token_hex(20),
            database_application_password=secrets.token_hex(20),
            redis_password=secrets.token_hex(20),
            gateway_development_token=secrets.token_hex(24),
            gateway_production_token=secrets.token_hex(24),
        )

    @classmethod
    def of(cls, folder: StateFolder) -> "SecretValues":
        """The folder's secrets, generated now if this is its first start.

        Raises:
            LauncherError: the file is damaged. It is never replaced, since the database cannot be read without it.
        """
        try:
            text = folder.secrets.read_text()
        except FileNotFoundError:
            values = cls.generate()
            write_private(folder.secrets, json.dumps(asdict(values), indent=2) + "\n")
            return values
        try:
            stored = json.loads(text)
            return cls(**{each.name: str(stored[each.name]) for each in fields(cls)})
        except (ValueError, KeyError, TypeError) as error:
            raise LauncherError(
                f"{folder.secrets} is damaged ({error}). Bring back a copy, or start anew with `make reset`."
            ) from error
