"""The policies of enrollment as one value; the gateway's configuration file fills it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from enroll.retention.periods import Periods

DAY = 86_400


@dataclass(frozen=True)
class Settings:
    """Defaults are the decisions D1 to D11 of the requirements."""

    #: Shown on every screen and in every mail.
    operator_name: str = "企業年金ビジネスサービス株式会社"
    ca_brand: str = "Cybertrust"
    #: The pick-up window counts from the first issue (E1): whichever ends first.
    window_days: int = 30
    window_downloads: int = 5
    #: An announced pick-up that nobody started is closed after this many days.
    announced_days: int = 30
    #: How long a built PKCS#12 waits for its Download button, in seconds; a browser or virus
    #: scanner may fetch it again within that time (E20).
    ticket_seconds: int = 600
    #: D-30 and D-7 are calendar days in Japan.
    renewal_days: int = 30
    reminder_days: int = 7
    #: Business days in which an application is decided as a rule: what applicants are told to expect; 0: they
    #: are told no day.
    decision_days: int = 3
    #: Renewal after expiry, in days; off (D8).
    grace_days: int = 0
    #: On how many PCs a user may have a certificate, and how many credentials for programs, unless the
    #: organisation says otherwise (E18).
    lineages: int = 1
    #: "revoke the old certificate N days after the first use of the renewed one"; -1 leaves it (D3).
    revoke_renewed_days: int = -1
    #: Whether people may have a certificate on a phone or tablet (R20 says a PC).
    phones: bool = False
    #: Key of certificates for people (a key of ca.keys): Windows wants RSA-2048 (D10).
    person_key: str = "rsa-2048"
    #: Profile of certificates for people whose organisation has none of its own.
    person_profile: str = "client-person"
    #: Roots, by their common names, whose cross-certificates are in people's files (PKCS#12), too.
    cross_certificates: tuple[str, ...] = ()
    #: Zone of the protocol's identifiers: <user-id>.<zone>.
    zone: str = "users.kinen.example"
    #: Certificates outside the renewal period that one protocol credential may have at a time. An open order
    #: takes a place for its day: so many as an account may have open.
    quota: int = 200
    #: Failed attempts per quarter of an hour before 429, per certificate and per address.
    attempts: int = 10
    attempt_seconds: int = 900
    #: How far the clock may be from what is known (ca.timekeeping) before what cannot be undone waits. Ahead:
    #: a machine that was off or suspended for a long weekend needs nobody, one set a month ahead waits.
    #: Behind: nothing but a clock that is set goes back; as much as a certificate is backdated.
    clock_ahead_days: int = 7
    clock_behind_minutes: int = 10
    mail_from: str = "cpbs_ct@kinen-bs.com"
    mail_return_path: str = ""
    #: Between these minutes of Japan's day notices leave that nobody waits for; equal: at any time.
    notice_opens: int = 8 * 60
    notice_closes: int = 20 * 60
    #: The same of letters that can wait for the morning.
    letter_opens: int = 0
    letter_closes: int = 0
    pickup_url: str = "https://pickup.localhost:8443/"
    renewal_url: str = "https://renewal.localhost:8443/"
    service_url: str = "https://service.localhost:8443/"
    #: Where operators log in; '' where there is no console.
    console_url: str = ""
    help_url: str = "https://help.localhost:8443/"
    telephone: str = "0120-96-1576"
    #: How postcards leave: printed in batches, or as text files in the outbox, for whoever prints them.
    postcards: Literal["batches", "outbox"] = "batches"
    #: File of their font, how addresses are written, whether the boxes of the postal code are drawn (on blank
    #: cards), and lines above the operator's name.
    postcard_font: str = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
    postcard_writing: Literal["vertical", "horizontal"] = "horizontal"
    postcard_frame: bool = True
    postcard_sender: tuple[str, ...] = ()
    #: Where the operator is told of ends of CAs; '' for nowhere.
    operator_mail: str = ""
    #: Hosts that webhooks may go to, with ":port" unless it is 443, and private networks that they may be in.
    webhook_hosts: tuple[str, ...] = ()
    webhook_networks: tuple[str, ...] = ()
    #: How long deliveries are kept once they are over.
    webhook_days: int = 30
    #: How long what is personal is kept.
    periods: Periods = field(default_factory=Periods)

    @property
    def window_seconds(self) -> int:
        return self.window_days * DAY
