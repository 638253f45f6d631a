"""The files of tests that take longest: they begin first, so that no worker is alone with one at the end."""

#: By what they take on two quiet cores, from a hundred seconds to ten.
LONGEST = (
    "tests/conformance/test_ours.py",
    "tests/cli/test_tokens.py",
    "tests/browser/test_console.py",
    "tests/clients/test_strangers.py",
    "tests/cli/test_workers.py",
    "tests/cli/test_serving.py",
    "tests/browser/test_screens_of_portal.py",
    "tests/browser/test_screens_of_help.py",
    "tests/browser/test_screens.py",
    "tests/gateway/proxy/test_proxy_smuggling.py",
    "tests/browser/test_origin.py",
    "tests/cli/test_inforce.py",
    "tests/browser/test_people.py",
    "tests/browser/test_manual.py",
    "tests/conformance/test_caddy.py",
    "tests/cli/test_running.py",
    "tests/cli/test_signer.py",
    "tests/gateway/sites/test_service_portal.py",
    "tests/browser/test_firefox.py",
    "tests/browser/test_handouts.py",
    "tests/cli/test_lists.py",
    "tests/documents/test_handbook.py",
    "tests/cli/test_clock.py",
    "tests/conformance/test_pebble.py",
    "tests/clients/test_sekisho_client.py",
    "tests/browser/test_language.py",
    "tests/browser/test_download_page.py",
    "tests/browser/test_as_it_is.py",
    "tests/cli/test_ageing.py",
    "tests/cli/test_output.py",
    "tests/cli/test_doctor.py",
    "tests/cli/test_descriptors.py",
    "tests/cli/test_balancer.py",
    "tests/browser/test_portal.py",
    "tests/conformance/test_alone.py",
    "tests/enroll/test_killed.py",
    "tests/gateway/proxy/test_mounted.py",
    "tests/gateway/sites/test_pickup.py",
    "tests/enroll/acme/test_acme_door.py",
    "tests/gateway/sites/test_console.py",
    "tests/test_started.py",
    "tests/mutants/test_mutants.py",
    "tests/test_compiled.py",
    "tests/test_house.py",
)


def place_of(file: str) -> int:
    """Where a file stands in the order of a run; those that are not named come after, as they are."""
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)
