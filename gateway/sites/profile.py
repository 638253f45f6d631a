"""A file as a configuration profile of iPhone and iPad, for operators who let certificates onto phones."""

from __future__ import annotations

import plistlib
import uuid

CONTENT_TYPE = "application/x-apple-aspen-config"


def profile(p12: bytes, common_name: str, serial: str, operator: str) -> bytes:
    """The profile. It holds the file as it is and no password: the device asks for that."""
    base = uuid.uuid5(uuid.NAMESPACE_OID, serial)
    identifier = f"sekisho.certificate.{common_name}"
    certificate = {
        "PayloadType": "com.apple.security.pkcs12",
        "PayloadIdentifier": f"{identifier}.pkcs12",
        "PayloadUUID": str(uuid.uuid5(base, "pkcs12")).upper(),
        "PayloadVersion": 1,
        "PayloadDisplayName": common_name,
        "PayloadCertificateFileName": f"{common_name}.p12",
        "PayloadContent": p12,
    }
    return plistlib.dumps(
        {
            "PayloadType": "Configuration",
            "PayloadIdentifier": identifier,
            "PayloadUUID": str(base).upper(),
            "PayloadVersion": 1,
            "PayloadDisplayName": f"{operator} {common_name}",
            "PayloadOrganization": operator,
            "PayloadContent": [certificate],
        }
    )
