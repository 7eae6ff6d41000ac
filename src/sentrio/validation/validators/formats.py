"""Rules about texts that are written in a known way.

Each kind is a regular expression that says all there is to say, but for dates: whether February has a 30th day
is asked of the calendar.
"""

from __future__ import annotations

__all__ = ("Format",)

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import polars as pl

from sentrio import _options as options
from sentrio.validation.metrics import Count, Matching, Metric
from sentrio.validation.validators._rules import RowRule
from sentrio.validation.validators.text import as_text

# RFC 5321's dot-string: what people have before the @.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# RFC 1123's label: letters, digits and hyphens, none at either end.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The last label of a name is never a number, or an address would be a name.
_TOP = r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"

_H16 = r"[0-9A-Fa-f]{1,4}"
_LS32 = rf"(?:{_H16}:{_H16}|{_IPV4})"


def _ipv6() -> str:
    """Return the grammar of RFC 3986, appendix A: eight groups, one run of zeros left out."""
    ways = [rf"(?:{_H16}:){{6}}{_LS32}"]
    for before in range(8):
        first = rf"(?:(?:{_H16}:){{0,{before - 1}}}{_H16})?" if before > 1 else rf"(?:{_H16})?" if before else ""
        after = 5 - before
        if after >= 0:
            ways.append(rf"{first}::(?:{_H16}:){{{after}}}{_LS32}")
        else:
            ways.append(rf"{first}::{_H16 if after == -1 else ''}")
    return "|".join(ways)


_IPV6 = f"(?:{_ipv6()})"

# A name, with or without a dot, in any script; a number with three dots is an address and nothing else.
_HOST_LABEL = r"[\p{L}\p{N}](?:[\p{L}\p{M}\p{N}_-]{0,61}[\p{L}\p{M}\p{N}])?"
_HOST_TOP = r"\p{L}(?:[\p{L}\p{M}\p{N}_-]{0,61}[\p{L}\p{M}\p{N}])?"
_HOST = rf"(?:\[{_IPV6}\]|{_IPV4}|(?:{_HOST_LABEL}\.)*{_HOST_TOP}\.?)"
_PORT = r"(?::(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})?)?"
# What may not stand in a URL unescaped: RFC 3986 has no place for it, and neither have browsers.
_FREE = r"""[^\s\p{Cc}<>"{}|\\^`]"""
_USER = r"""(?:[^\s\p{Cc}<>"{}|\\^`/?#@\[\]]*@)?"""

_DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_ZONE = r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"

_PATTERNS = {
    "email": rf"^{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_TOP}$",
    "url": rf"^(?:[A-Za-z][A-Za-z0-9+.-]*://{_USER}{_HOST}{_PORT}|(?i:file)://)(?:[/?#]{_FREE}*)?$",
    "uuid": r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$",
    "ipv4": rf"^{_IPV4}$",
    "ipv6": rf"^{_IPV6}$",
    "date": rf"^{_DATE}$",
    "datetime": rf"^{_DATE}[T ]{_TIME}{_ZONE}$",
}

# RFC 5321, section 4.5.3.1: of what stands before the @, and of the whole address.
_LONGEST_LOCAL = 64
_LONGEST_EMAIL = 254


@attrs.define(kw_only=True)
class Format(RowRule):
    """Every text is written as its ``kind`` is.

    - ``email``: ``name@host.domain``: dot-separated atoms of RFC 5321 (64 characters at most), no quoted names, a
      domain of at least two labels in ASCII, 254 characters at most
    - ``url``: ``scheme://host`` with any scheme, maybe with user, port (up to 65535), path, query and fragment,
      without spaces; the host is a name, an IPv4 address or an IPv6 address in brackets; ``file:///path`` has none
    - ``uuid``: 32 hexadecimal digits of any case, in groups of 8-4-4-4-12, any version
    - ``ipv4``: four numbers up to 255 without leading zeros
    - ``ipv6``: RFC 4291, shortened or not, also with an IPv4 address as its end; no zone (``%eth0``), no prefix
    - ``date``: ``YYYY-MM-DD``, a day of the calendar, years 0001 to 9999
    - ``datetime``: such a date, ``T`` or a space, ``HH:MM``, maybe seconds, maybe with a fraction of up to nine
      digits, maybe ``Z`` or ``+HH:MM``; no leap seconds

    :param kind: one of these
    """

    validator_name: ClassVar[str] = "format"
    applies_to: ClassVar[str] = "string"

    kind: str = attrs.field(validator=options.one_of(tuple(_PATTERNS)))

    def passes(self, nw: Any, column: str, dtype: pl.DataType) -> Any:
        """Return whether the text is of the kind."""
        text = as_text(nw, column, dtype)
        matches = text.str.contains(_PATTERNS[self.kind])
        if self.kind == "email":
            local = text.str.find("@", literal=True)
            return matches & (text.str.len_bytes() <= _LONGEST_EMAIL) & (local.fill_null(0) <= _LONGEST_LOCAL)
        if self.kind in {"date", "datetime"}:
            day = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
            valid = matches & day.is_not_null() & ~text.str.starts_with("0000")
            return nw.when(text.is_not_null()).then(valid)
        return matches

    def counts(self, nw: Any, column: str, passes: Any) -> Mapping[str, Metric]:
        """Return the counts; the count of values costs less than that of the answers."""
        return {"failed": Matching(~passes), "evaluated": Count(column)}

    @property
    def requirement(self) -> str:
        """The kind."""
        return f"{'an' if self.kind[0] in 'aei' else 'a'} {self.kind}"
