"""The grammar of names: RFC 1123 labels and subdomains, label keys and values (apimachinery ``util/validation``).

Every function returns the sentences that say what is wrong; an empty list means valid.
"""

from __future__ import annotations

import re

LABEL_LENGTH_MAX = 63
SUBDOMAIN_LENGTH_MAX = 253

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_RFC1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_PORT_NAME = re.compile(r"[-a-z0-9]+")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")

_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name', or '123-abc')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com')"
)
_QUALIFIED_RULE = (
    "the name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName', or 'my.name', or '123-abc')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue', or 'my_value', or '12345')"
)


def _length(text: str, limit: int) -> list[str]:
    return [] if len(text) <= limit else [f"must be no more than {limit} characters"]


def dns_label(text: str) -> list[str]:
    """RFC 1123 label: namespaces, tenants, containers, volumes."""
    faults = _length(text, LABEL_LENGTH_MAX)
    return faults if _LABEL.fullmatch(text) else [*faults, _LABEL_RULE]


def dns_subdomain(text: str) -> list[str]:
    """RFC 1123 subdomain: pods, nodes, most objects."""
    faults = _length(text, SUBDOMAIN_LENGTH_MAX)
    return faults if _SUBDOMAIN.fullmatch(text) else [*faults, _SUBDOMAIN_RULE]


def dns_1035_label(text: str) -> list[str]:
    faults = _length(text, LABEL_LENGTH_MAX)
    if _RFC1035.fullmatch(text):
        return faults
    return [
        *faults,
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-' and start with a letter",
    ]


def qualified_name(text: str) -> list[str]:
    """``[prefix/]name``: label and annotation keys, taint keys, resource names."""
    prefix, slash, name = text.rpartition("/")
    faults: list[str] = []
    if slash:
        if not prefix:
            faults.append("prefix part must be non-empty")
        else:
            faults += [f"prefix part {fault}" for fault in dns_subdomain(prefix)]
    if not name:
        return [*faults, "name part must be non-empty"]
    faults += [f"name part {fault}" for fault in _length(name, LABEL_LENGTH_MAX)]
    return faults if _QUALIFIED.fullmatch(name) else [*faults, _QUALIFIED_RULE]


def label_value(text: str) -> list[str]:
    faults = _length(text, LABEL_LENGTH_MAX)
    return faults if not text or _QUALIFIED.fullmatch(text) else [*faults, _VALUE_RULE]


def env_name(text: str) -> list[str]:
    if _ENV_NAME.fullmatch(text) and text not in (".", "..") and not text.startswith(".."):
        return []
    return [
        "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must "
        "not start with a digit (e.g. 'MY_ENV.VAR-NAME')"
    ]


def port_name(text: str) -> list[str]:
    """IANA_SVC_NAME (RFC 6335): at most 15 of a-z, 0-9, '-', one letter at least, no '-' at an end or doubled."""
    faults = _length(text, 15)
    if not _PORT_NAME.fullmatch(text):
        return [*faults, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"]
    if not any(character.isalpha() for character in text):
        faults.append("must contain at least one letter (a-z)")
    if "--" in text:
        faults.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        faults.append("must not begin or end with a hyphen")
    return faults


def config_key(text: str) -> list[str]:
    """A key of a ConfigMap or Secret."""
    faults = _length(text, SUBDOMAIN_LENGTH_MAX)
    if not _CONFIG_KEY.fullmatch(text):
        return [*faults, "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"]
    return [*faults, "must not be '.' or start with '..'"] if text == "." or text.startswith("..") else faults
