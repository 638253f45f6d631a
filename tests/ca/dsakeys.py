"""DSA keys, which nobody takes: to find a group of its own for one takes up to seconds of a core."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import dsa

# Of 2048 bits, found once by OpenSSL.
_P = int(
    "f879ac8814d95a70bd83aaab207f2e36ab1c17ddde215df364b7f2cc227a82ca287d82a77264f0fdf4cebf15241fd815"
    "87407c66ef96717e9266bc6b18485e10a06baeea478875cc1fba3c5c8da8b9d122d7bb440a21a7020311b3054c30bc57"
    "9f0d2adb5d79d549d1bb8198ffcc585ca714b20c2cb56b8cd3fab131ac79cf975d1631bb53398dccaa5c10f29776767f"
    "e80c083168636b30a5e40586f3c758264ce6946526a4aaab4a0f70bc883c8fdecff05672e04841f989dfd70dd60e7660"
    "a41d34b7349c5a759fc5782f678aaf4f38f5404707fe082316a51d41a95ca95aae86d760f28670bf903604992563f883"
    "339b028121f53aacd5eadd64d4520469",
    16,
)
_Q = 0x8CF6F82A4B5267E8316248277A64BD3368DE1541661C9634C80611ECC75420A3
_G = int(
    "cc31f36f1b87b1a12d10c4359a990ffea51e92fc4cbdf5a0ab8bf5fd37a60fd3d28c50f0aff982cb72979ecbdac9ba00"
    "c5fc897d09befbbd51d1f1c001e90f47fc4480e25c53789563dedd7f6241521db9efa412fac64c6bae7dded6fe6f3d78"
    "5bc47f4a79d73ac6f1b1b423929c3277274c71607aaf4eb44551b31e2280cd7c092abeac51a72b9af5771237ecaddfb2"
    "e28283c11ed9dcc7207366de6f98f2ba89a640187a3dfb1b28616521fd3d920ec4dff37a6cceac029347bf39029e4e2a"
    "fa927243a26ce111e3c6632874f2fb38b34b66d39c85de25089191dbcd4d7e36bd1056a64c84b7ee8bef7f706274316b"
    "ca57e64bc60247f9690c7939eda89fe1",
    16,
)


def dsa_key() -> dsa.DSAPrivateKey:
    """A new key of that group."""
    return dsa.DSAParameterNumbers(_P, _Q, _G).parameters().generate_private_key()
