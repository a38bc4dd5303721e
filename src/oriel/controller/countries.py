"""Which country an address belongs to, by a database on this host. Nobody is asked."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import maxminddb

from oriel.model.errors import HostError

__all__ = ["Countries"]


class Countries:
    """Without a file, every country is "". HostError if it is no database in MaxMind's format (MMDB)."""

    def __init__(self, path: Path | None) -> None:
        try:
            self._reader = None if path is None else maxminddb.open_database(path)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise HostError(
                f"{path} cannot be read as a database of countries: {error}",
                hint="give country_database the path of an .mmdb file, or leave it out",
            ) from error

    def of(self, address: str) -> str:
        """ISO 3166 code in capitals, "" if it is not known."""
        if self._reader is None or not address:
            return ""
        found = self._reader.get(ip_address(address))
        country = found.get("country") if isinstance(found, dict) else None
        # Providers differ: {"country": {"iso_code": "DE"}}, or {"country": "DE"}.
        code = country.get("iso_code") if isinstance(country, dict) else country
        return code if isinstance(code, str) else ""

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
