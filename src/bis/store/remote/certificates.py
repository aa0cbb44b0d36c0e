"""Whom bis trusts behind https://, and what it says of those whom it does not."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from bis.errors import KeepingError

NAMES: Final = ("SSL_CERT_FILE", "MLFLOW_TRACKING_SERVER_CERT_PATH")
"""Variables that name a file of certificates to trust; the first one counts."""
EXPIRED, NOT_YET, OTHER_NAME, OTHER_ADDRESS = 10, 9, 62, 64
"""What OpenSSL calls it."""


def trusted(variables: Mapping[str, str]) -> ssl.SSLContext:
    """Trusts what the file holds that a variable names, else what the machine trusts. Raises KeepingError for a file
    that cannot be read."""
    name = next((name for name in NAMES if variables.get(name)), "")
    file = variables.get(name) or None
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        said = "there are none in it" if isinstance(error, ssl.SSLError) else error.strerror or error
        raise KeepingError(
            f"the certificates in {file} cannot be read: {said}",
            because=f"{name} names the file.",
            hint=f"{name}=FILE, in PEM format: the certificate of who signed the server's",
        ) from None


def distrust(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """What is wrong with a certificate, and what to do."""
    if error.verify_code in (EXPIRED, NOT_YET):
        said = "has expired" if error.verify_code == EXPIRED else "is not valid yet"
        return f"its certificate {said}", "who runs the server renews it; look at the clock of this machine, too"
    if error.verify_code in (OTHER_NAME, OTHER_ADDRESS):
        return f"its certificate is for another name: {error.verify_message}", "name the server as its certificate does"
    said = f"its certificate is not trusted: {error.verify_message}"
    return said, f"{NAMES[0]}=FILE names the certificate of who signed it, where that is one of your own"
