"""Every resource of the API, its methods, and what each asks of the roles: the one table.

The router, the matrix of roles and the test of ``openapi.yaml`` read it. What has no row is not there.
"""

from __future__ import annotations

from dataclasses import replace

from enroll.operators.roles import Act, Verdict
from gateway.sites.api import (
    applications,
    audit,
    campaigns,
    certificates,
    description,
    jobs,
    letters,
    organisations,
    proposals,
    reports,
    requests,
    users,
    webhooks,
)
from gateway.sites.api.entering import Route
from gateway.sites.api.organisations import Reasoned
from gateway.sites.api.reading import Paged

#: Below this path is everything.
PREFIX = "/v1"
_DO, _ASK = Verdict.DO, Verdict.PROPOSE | Verdict.DO

_ORGANISATIONS: tuple[Route, ...] = (
    Route("GET", "/organisations", organisations.listed, Act.SEARCH, query=Paged),
    Route("POST", "/organisations", organisations.add, Act.RECORD, _ASK, body=organisations.New),
    Route("GET", "/organisations/{policy_number}", organisations.shown, Act.SEARCH),
    Route(
        *("PATCH", "/organisations/{policy_number}", organisations.change, Act.RECORD, _ASK),
        body=organisations.Change,
    ),
    Route(
        *("POST", "/organisations/{policy_number}/disablements", organisations.disable, Act.RECORD, _ASK),
        body=Reasoned,
    ),
    Route(
        *("POST", "/organisations/{policy_number}/enablements", organisations.enable, Act.RECORD, _ASK),
        body=Reasoned,
    ),
)
_USERS: tuple[Route, ...] = (
    Route("GET", "/users", users.listed, Act.SEARCH, query=users.Some),
    Route("POST", "/users", users.add, Act.RECORD, _ASK, body=users.New),
    Route("GET", "/users/{user_id}", users.shown, Act.SEARCH),
    Route("PATCH", "/users/{user_id}", users.change, Act.RECORD, _ASK, body=users.Change),
    Route("POST", "/users/{user_id}/suspensions", users.suspend, Act.SUSPEND, _DO, body=users.Suspension),
    Route("POST", "/users/{user_id}/releases", users.release, Act.RECORD, _ASK, body=Reasoned),
    Route("POST", "/users/{user_id}/disablements", users.disable, Act.RECORD, _ASK, body=Reasoned),
    Route("POST", "/users/{user_id}/enablements", users.enable, Act.RECORD, _ASK, body=Reasoned),
    Route(
        *("POST", "/users/{user_id}/password-resets", users.reset_password, Act.RESET_PASSWORD, _ASK),
        body=Reasoned,
    ),
    Route("POST", "/users/{user_id}/reissues", users.reissue, Act.APPLICATIONS, _ASK, body=users.Reissue),
)
_APPLICATIONS: tuple[Route, ...] = (
    Route("GET", "/applications", applications.listed, Act.APPLICATIONS, query=applications.Some),
    Route("POST", "/applications", applications.take_in, Act.TAKE_IN, _DO, body=applications.New),
    Route("GET", "/applications/{number}", applications.shown, Act.APPLICATIONS),
    Route(
        *("POST", "/applications/{number}/approvals", applications.approve, Act.APPLICATIONS, _ASK),
        body=applications.Approval,
    ),
    Route(
        *("POST", "/applications/{number}/rejections", applications.reject, Act.APPLICATIONS, _ASK),
        body=applications.Rejection,
    ),
)
_CERTIFICATES: tuple[Route, ...] = (
    Route("GET", "/requests", requests.listed, Act.SEARCH, query=requests.Some),
    Route("GET", "/requests/{request_id}", requests.shown, Act.SEARCH),
    Route("GET", "/certificates", certificates.listed, Act.SEARCH, query=certificates.Some),
    Route("GET", "/certificates/{serial}", certificates.shown, Act.SEARCH),
    Route(
        *("POST", "/certificates/{serial}/revocations", certificates.revoke, Act.REVOKE, _ASK),
        body=certificates.Revocation,
    ),
    Route("POST", "/certificates/{serial}/releases", certificates.release, Act.RECORD, _ASK, body=Reasoned),
    Route("GET", "/letters", letters.listed, Act.SEARCH, query=letters.Some),
    Route("GET", "/letters/{number}", letters.shown, Act.SEARCH),
    Route("POST", "/letters/{number}/resends", letters.send_again, Act.CALL, _DO),
)
# Whose a job or a proposal is its kind says (`viewing.visible`, `asking.visible`).
_WORK: tuple[Route, ...] = (
    Route("GET", "/jobs", jobs.jobs_listed, query=jobs.Some),
    Route("GET", "/jobs/{number}", jobs.job_shown),
    Route("POST", "/jobs/{number}/cancellations", jobs.cancel),
    Route("POST", "/jobs/{number}/resumptions", jobs.resume),
    Route("GET", "/imports", jobs.imports_listed, query=jobs.Some),
    Route("POST", "/imports", jobs.propose_import, Act.RECORD, _ASK, query=jobs.NewImport, body=None),
    Route("GET", "/imports/{number}", jobs.import_shown),
    Route("GET", "/imports/{number}/failures", jobs.failures),
    Route("POST", "/imports/{number}/undoings", jobs.undo, Act.RECORD, _ASK, body=Reasoned),
    Route("GET", "/proposals", proposals.listed, query=proposals.Some),
    Route("GET", "/proposals/{number}", proposals.shown),
    Route("POST", "/proposals/{number}/withdrawals", proposals.withdraw),
)
_WEBHOOKS: tuple[Route, ...] = (
    Route("GET", "/webhook-endpoints", webhooks.listed, Act.DELIVERIES, query=Paged),
    Route("POST", "/webhook-endpoints", webhooks.add, Act.SETTINGS, _ASK, body=webhooks.New),
    Route("GET", "/webhook-endpoints/{name}", webhooks.shown, Act.DELIVERIES),
    Route(*("PATCH", "/webhook-endpoints/{name}", webhooks.change, Act.SETTINGS, _ASK), body=webhooks.Change),
    Route("POST", "/webhook-endpoints/{name}/endings", webhooks.end, Act.SETTINGS, _ASK, body=Reasoned),
    Route(
        *("POST", "/webhook-endpoints/{name}/rotations", webhooks.rotate, Act.SETTINGS, _ASK),
        body=webhooks.Rotation,
    ),
    Route(
        *("POST", "/webhook-endpoints/{name}/disablements", webhooks.stop, Act.DELIVERIES, _DO),
        body=webhooks.Stop,
    ),
    Route(
        *("POST", "/webhook-endpoints/{name}/enablements", webhooks.start, Act.SETTINGS, _ASK),
        body=webhooks.Enablement,
    ),
    Route("POST", "/webhook-endpoints/{name}/tests", webhooks.test, Act.DELIVERIES, _DO),
    Route("GET", "/deliveries", webhooks.deliveries, Act.DELIVERIES, query=webhooks.Some),
    Route("GET", "/deliveries/{number}", webhooks.delivery, Act.DELIVERIES),
    Route("POST", "/deliveries/{number}/replays", webhooks.replay, Act.DELIVERIES, _DO),
)
_CAMPAIGNS: tuple[Route, ...] = (
    Route("GET", "/campaigns", campaigns.listed, Act.CAMPAIGNS, query=Paged),
    Route("POST", "/campaigns", campaigns.begin, Act.CAMPAIGNS, _DO, body=campaigns.New),
    Route("GET", "/campaigns/{number}", campaigns.shown, Act.CAMPAIGNS),
    Route("GET", "/campaigns/{number}/organisations", campaigns.organisations, Act.CAMPAIGNS, query=Paged),
    Route("POST", "/campaigns/{number}/reminders", campaigns.remind, Act.CAMPAIGNS, _DO, body=Reasoned),
    Route("POST", "/campaigns/{number}/endings", campaigns.end, Act.CAMPAIGNS, _DO, body=Reasoned),
)
_SUMS: tuple[Route, ...] = (
    Route("GET", "/reports", reports.listed, Act.REPORTS),
    Route("GET", "/reports/{name}", reports.shown, Act.REPORTS, query=reports.Period),
    # All of it, or what one has done oneself: which of them, the function says.
    Route("GET", "/audit-events", audit.listed, Act.AUDIT, Verdict.READ | Verdict.OWN, query=audit.Some),
)
_ITSELF: tuple[Route, ...] = (
    Route("GET", "/openapi.yaml", description.as_yaml),
    Route("GET", "/openapi.json", description.as_json),
)

#: With their whole paths.
ROUTES: tuple[Route, ...] = tuple(
    replace(each, path=PREFIX + each.path)
    for each in (
        *_ORGANISATIONS,
        *_USERS,
        *_APPLICATIONS,
        *_CERTIFICATES,
        *_WORK,
        *_WEBHOOKS,
        *_CAMPAIGNS,
        *_SUMS,
        *_ITSELF,
    )
)
