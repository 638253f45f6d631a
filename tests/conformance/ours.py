"""Our own server as the suite meets it: what it is given to spend, and a certificate to renew by."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from enroll.client import work
from enroll.client.folder import Folder
from tests.clients.demo import Demo


def credentials(demo: Demo, place: Path, made_on: int) -> Path:
    """Credentials of two users, and a certificate made so many days ago to renew by."""
    place.mkdir()
    given = demo.credentials("RIYOU001", 17) + demo.credentials("RIYOU002", 4)
    own = place / "own.json"
    own.write_text(json.dumps(given.pop(0)))
    folder, then = Folder(place / "client"), datetime.now(UTC) + timedelta(days=made_on)
    with demo.on_day(made_on):
        wishes = work.Wishes(demo.directory, ca_file=demo.ca_file)
        work.enroll(folder, wishes, work.read_credential(own), then)
    renewal = {
        "directory": demo.renewal_directory,
        "certificate": folder.fullchain_file.read_text(),
        "key": folder.key_file.read_text(),
        "identifiers": given[0]["identifiers"],
    }
    file = place / "credentials.json"
    file.write_text(json.dumps({"credentials": given, "renewal": renewal}))
    return file
