"""Seals and opens ESP packets with scapy: one JSON object per line in, one per line out, in order.

    {"do": "seal" | "open", "cipher": ..., "integrity": ... | null, "esn": ..., "spi": ..., "sequence": ...,
     "encryption": hex, "authentication": hex, "packet": hex}

Keys are as IKE derives them (an AEAD's with its salt behind). The answer is {"packet": hex} or {"error": text}.
"""

import json
import sys

from scapy.config import conf
from scapy.layers.inet import IP
from scapy.layers.ipsec import ESP, SecurityAssociation

CIPHERS = {
    "Des": "3DES",
    "TripleDes": "3DES",
    "Aes128Cbc": "AES-CBC",
    "Aes192Cbc": "AES-CBC",
    "Aes256Cbc": "AES-CBC",
    "Aes128Gcm": "AES-GCM",
    "Aes192Gcm": "AES-GCM",
    "Aes256Gcm": "AES-GCM",
    "ChaCha20Poly1305": "CHACHA20-POLY1305",
}
INTEGRITIES = {
    "HmacMd5_96": "HMAC-MD5-96",
    "HmacSha1_96": "HMAC-SHA1-96",
    "HmacSha2_256_128": "SHA2-256-128",
    "HmacSha2_384_192": "SHA2-384-192",
    "HmacSha2_512_256": "SHA2-512-256",
}


def work(job):
    low, high = job["sequence"] & 0xFFFFFFFF, job["sequence"] >> 32
    key = bytes.fromhex(job["encryption"])
    if job["cipher"] == "Des":
        key *= 3  # the library behind scapy knows DES only as 3DES with equal keys
    sa = SecurityAssociation(
        ESP,
        spi=job["spi"],
        seq_num=low,
        crypt_algo=CIPHERS[job["cipher"]],
        crypt_key=key,
        auth_algo=INTEGRITIES[job["integrity"]] if job["integrity"] else None,
        auth_key=bytes.fromhex(job["authentication"]) or None,
        tunnel_header=IP(src="198.51.100.2", dst="192.0.2.1"),
        esn_en=job["esn"],
        esn=high,
    )
    packet = IP(bytes.fromhex(job["packet"]))
    return sa.encrypt(packet) if job["do"] == "seal" else sa.decrypt(packet)


def main():
    conf.verb = 0
    for line in sys.stdin:
        try:
            answer = {"packet": bytes(work(json.loads(line))).hex()}
        except Exception as error:  # whatever it is, the test must hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer))


main()
