"""Which pairs were asked, in the form that choosing the next ones needs. Knows nothing of storage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Set


class Asked(Collection[frozenset[str]]):
    """The pairs asked so far, by the ids of their segments. Adding or finding one takes no longer as they grow."""

    def __init__(self, pairs: Iterable[frozenset[str]] = ()) -> None:
        self._pairs: set[frozenset[str]] = set()
        self._partners: dict[str, set[str]] = {}
        for pair in pairs:
            self.add(pair)

    def add(self, pair: frozenset[str]) -> None:
        """This pair has been asked too; adding it twice is adding it once."""
        first, second = pair
        self._pairs.add(pair)
        self._partners.setdefault(first, set()).add(second)
        self._partners.setdefault(second, set()).add(first)

    def partners(self, segment_id: str) -> Set[str]:
        """The segments that this one was compared with: as many as the queries it stands in."""
        return self._partners.get(segment_id, frozenset())

    def __contains__(self, pair: object) -> bool:
        return pair in self._pairs

    def __iter__(self) -> Iterator[frozenset[str]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)
