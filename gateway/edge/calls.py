"""OpenSSL's own calls, by the names that pyOpenSSL has for itself: shorter ways for what connections do.

Its methods make buffers and objects for each call, look for faults of callbacks after it, and wrap every
callback. Those names are pyOpenSSL's own business: where a version has others, `DIRECT` is False and its
methods do the same. Whoever has both ways (`bios`, `handshake`) has a test that holds them equal.
"""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL

_OF_A_SESSION = ("_ssl", "_into_ssl", "_from_ssl", "_raise_ssl_error", "_handle_bio_errors")
_CALLS = (
    "SSL_read", "SSL_write", "BIO_read", "BIO_write", "BIO_new", "BIO_free", "BIO_s_mem", "SSL_set_bio",
    "SSL_do_handshake", "SSL_get_error", "SSL_CTX_set_verify", "SSL_CTX_set_tlsext_servername_callback",
    "SSL_CTX_set_alpn_select_cb", "SSL_get_servername", "SSL_set_verify", "SSL_get_peer_certificate",
    "X509_free", "i2d_X509_bio", "X509_STORE_CTX_get_ex_data", "SSL_get_ex_data_X509_STORE_CTX_idx",
    "X509_STORE_CTX_get_error", "X509_STORE_CTX_get_error_depth", "X509_STORE_CTX_set_error",
    "SSL_get_version", "SSL_get_current_cipher", "SSL_CIPHER_get_name", "SSL_get0_group_name",
    "SSL_get0_alpn_selected",
)  # fmt: skip


def names() -> tuple[Any, Any]:
    """cffi's two halves of OpenSSL as pyOpenSSL has them; (None, None) where a name would be missed."""
    try:
        from OpenSSL._util import ffi, lib
    except ImportError:
        return None, None
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    session = SSL.Connection(context, None)
    known = all(hasattr(session, each) for each in _OF_A_SESSION) and hasattr(context, "_context")
    return (ffi, lib) if known and all(hasattr(lib, each) for each in _CALLS) else (None, None)


ffi, lib = names()
#: Whether the shorter way is there.
DIRECT: Final[bool] = lib is not None
