"""A small client of the protocol: ``sekisho-client`` on the command line, ``Acme`` in Python.

Everything it needs to know comes from the directory URL; it shares no code with the server.
"""

from enroll.client.acme import Acme, AcmeError, Issued, RenewalWindow
from enroll.client.keys import new_key

__all__ = ["Acme", "AcmeError", "Issued", "RenewalWindow", "new_key"]
